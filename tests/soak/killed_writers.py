"""Killed writers: whoever reads an answer is told when its process dies, and has what was shown until a second before.

Writers are processes of one local server, readers are in another one, with the same store.
"""

import json
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.local_server import local_server
from tests.soak.cut_streams import FUNCTION
from tests.soak.progress import Outcome, Progress
from tests.soak.resuming import FORMATS, NATIVE, RESUMABLE, Connection, Wire, ag_ui_messages, events, get, post

__all__ = ["frozen_writers", "killed_writers"]

LEASE_S = 3  # renewed every second, which is the pace of writes as well
MAY_BE_LOST_S = 1.0
SLACK_S = 0.25
"""For what a write takes, on a machine that does much else."""

ANSWER_S = 10
"""Much longer than what happens before its process is killed or frozen, also on a machine that does much else."""

LOST = "The answer broke off."


@dataclass
class _Reading:
    """What a client has of one response, and when it got it; reads in a thread until the response ends."""

    connection: Connection
    got: list[tuple[float, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while data := self.connection.read_some():
            self.got.append((time.monotonic(), data))
        self.ended_at = time.monotonic()

    def wait(self) -> bytes:
        """All of it, once it has ended."""
        self._thread.join()
        self.connection.close()
        return b"".join(data for _, data in self.got)

    def until(self, time_s: float) -> bytes:
        """What was there at that time."""
        return b"".join(data for at, data in list(self.got) if at <= time_s)

    def wait_for(self, condition: Callable[[str], Any]) -> Any:
        """The first true value of a condition on the text so far."""
        for _ in range(2000):
            if value := condition(_text(self.until(time.monotonic()))):
                return value
            time.sleep(0.005)
        raise AssertionError("the answer does not begin")


@dataclass
class _Case:
    number: int
    chance: random.Random
    writers: str
    readers: str
    number_signal: signal.Signals
    where: str = ""
    lost_s: list[float] = field(default_factory=list)
    told_after_s: list[float] = field(default_factory=list)

    def run(self) -> str:
        """What is wrong; "" if nothing is."""
        chance = self.chance
        self.writer, self.conversation = chance.choice(FORMATS), f"killed-{self.number}"
        self.kept = self.writer.can_keep and chance.random() < 0.6
        question = f"speak {ANSWER_S} at {chance.choice([10, 40, 200])}"
        body = self.writer.body(self.conversation, question, kept=self.kept)
        writing = _Reading(post(self.writers, self.writer, body))
        process = int(writing.wait_for(re.compile(r"(\d+): ").match)[1])
        self.where = f"writer {self.number}, {self.writer.path}, kept={self.kept}"
        readings = [self._read()] if chance.random() < 0.6 else []
        time.sleep(chance.choice([0, chance.random() * 3, chance.random() * 3]))
        os.kill(process, self.number_signal)
        killed_at = time.monotonic()
        if self.number_signal == signal.SIGKILL:
            writing.wait()
        time.sleep(chance.random() * 2)
        readings += [self._read()]
        try:
            texts = [self._check(wire, reading, writing, killed_at) for wire, reading in readings]
        finally:
            os.kill(process, signal.SIGCONT) if self.number_signal == signal.SIGSTOP else None
        if self.number_signal == signal.SIGSTOP:
            return self._check_late(readings, writing)
        if len(set(texts)) > 1:
            raise AssertionError("two readers have two texts")
        self._check_kept(texts[0])
        return ""

    def _read(self) -> tuple[Wire, _Reading]:
        wire = self.chance.choice(RESUMABLE)
        self.where += f", read as {wire.path}"
        return wire, _Reading(self._again(wire))

    def _again(self, wire: Wire) -> Connection:
        connection = get(self.readers, f"{wire.path}/{self.conversation}/stream")
        if connection.status != 200:
            raise AssertionError(f"{wire.path}: status {connection.status}")
        return connection

    def _check(self, wire: Wire, reading: _Reading, writing: _Reading, killed_at: float) -> str:
        data = reading.wait()
        self.told_after_s.append(reading.ended_at - killed_at)
        wire.show(frame for _, frame in events(data))  # raises for a second terminal event
        _check_lost(wire, data)
        text = _text(data)
        shown = _text(writing.until(killed_at - MAY_BE_LOST_S - SLACK_S))
        if not text.startswith(shown):
            raise AssertionError(f"{len(shown) - len(text)} characters that were shown are lost")
        self.lost_s += [killed_at - at for at, _ in writing.got if len(_text(writing.until(at))) > len(text)][:1]
        return text

    def _check_kept(self, text: str) -> None:
        """What was logged is an incomplete message, also after the next request."""
        if not self.kept:
            return
        path = f"/conversations/{self.conversation}"
        for _ in range(2):
            messages = json.loads(get(self.readers, path).read())["messages"]
            answers = [_said(message) for message in messages if message.get("incomplete")]
            if answers != [text] * bool(text):
                raise AssertionError(f"kept is {answers}, and not {text[:50]!r}")
            body = NATIVE.body(self.conversation, "answer 1 at 0", kept=True)
            asked = post(self.readers, NATIVE, body)
            if asked.status != 200:
                raise AssertionError(f"the next request: {asked.status} {asked.read()!r}")
            asked.read()

    def _check_late(self, readings: list[tuple[Wire, _Reading]], writing: _Reading) -> str:
        """The writer goes on to its end, and whoever comes now is told what others were."""
        writing.wait()
        for wire, reading in readings:
            data = self._again(wire).read()
            _check_lost(wire, data)
            text, told = _text(data), _text(reading.until(reading.ended_at))
            is_loaded = self.kept and wire.path == "/agui"  # from the history, to which the late writer has added
            if text != told and not (is_loaded and text.startswith(told)):
                raise AssertionError("who comes late is told another ending")
        return ""


def _text(data: bytes) -> str:
    """All that was said, in whatever format."""
    deltas = (frame for _, frame in events(data) if frame != "[DONE]")
    return "".join(_delta(frame) for frame in deltas)


def _delta(frame: dict[str, Any]) -> str:
    if "choices" in frame:
        return "".join(choice["delta"].get("content") or "" for choice in frame["choices"])
    if frame.get("type") == "MESSAGES_SNAPSHOT":
        return "".join(message.get("content") or "" for message in ag_ui_messages([frame]))
    kinds = {"content", "text-delta", "TEXT_MESSAGE_CONTENT"}
    return str(frame["delta"]) if frame.get("type") in kinds else ""


def _check_lost(wire: Wire, data: bytes) -> None:
    """Raise unless the last frame says that the answer broke off."""
    frames = [frame for _, frame in events(data) if frame != "[DONE]"]
    end = {"type": "", **frames[-1]} if frames else {}
    told = end.get("message") or end.get("errorText")
    if end["type"] not in {"error", "RUN_ERROR"} or not str(told).startswith(LOST):
        raise AssertionError(f"{wire.path} ends with {end}")


def _said(message: dict[str, Any]) -> str:
    return "".join(part.get("text", "") for part in message["parts"])


def killed_writers(total: int, folder: Path, seed: int, at_once: int = 8, lease_s: int = LEASE_S) -> Outcome:
    """Kill `total` processes while they give an answer."""
    return _run("killed writers", total, folder, seed, at_once, lease_s, signal.SIGKILL)


def frozen_writers(total: int, folder: Path, seed: int, at_once: int = 8, lease_s: int = LEASE_S) -> Outcome:
    """Freeze `total` processes for longer than a lease while they give an answer, and let them go on."""
    return _run("frozen writers", total, folder, seed, at_once, lease_s, signal.SIGSTOP)


def _run(name: str, total: int, folder: Path, seed: int, at_once: int, lease_s: int, number: signal.Signals) -> Outcome:
    outcome, progress = Outcome(f"{total} {name}"), Progress(name, total)
    settings = {"STORE": f"file:{folder / 'store'}", "CONVERSATION_LEASE": str(lease_s)}
    settings |= {"MODEL_ID": "any", "TITLE_MODEL": "off"}
    flags = (*FUNCTION, *(flag for key, value in settings.items() for flag in ("--env", f"{key}={value}")))
    cases: list[_Case] = []
    with ExitStack() as stack:
        homes = [folder / part for part in ("writers", "readers")]
        for home in homes:
            home.mkdir()
        writers = stack.enter_context(local_server(homes[0], *flags, "--concurrency", str(at_once)))
        readers = stack.enter_context(local_server(homes[1], *flags, "--managed-instances", str(4 * at_once)))
        get(readers.url, f"{NATIVE.path}/none/stream").read()  # no answer has to wait for the start of its readers

        def kill(at: int) -> str:
            case = _Case(at, random.Random(f"{seed} {at}"), writers.url, readers.url, number)
            cases.append(case)
            try:
                wrong = case.run()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
                wrong = f"{case.where}: {type(error).__name__}: {error}"
            progress.step()
            return wrong

        with ThreadPoolExecutor(at_once) as threads:
            outcome.wrong += filter(None, threads.map(kill, range(total)))
    told = max(after_s for case in cases for after_s in case.told_after_s)
    lost = max((lost_s for case in cases for lost_s in case.lost_s), default=0)
    outcome.did += f"; told after {told:.1f} s at most, with a lease of {lease_s} s, and {lost:.2f} s at most were lost"
    return outcome
