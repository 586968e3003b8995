"""Cut streams: a client that loses its stream at any byte and resumes it has in the end what an undisturbed one has."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, zip_longest
from pathlib import Path
from typing import Any

from tests.local_server import local_server
from tests.soak.progress import Outcome, Progress
from tests.soak.resuming import (
    FORMATS,
    NATIVE,
    RESUMABLE,
    Connection,
    Wire,
    ag_ui_messages,
    events,
    get,
    post,
    same_bytes,
    without_partial_frame,
)

__all__ = ["FUNCTION", "cut_streams"]

FUNCTION = ("--task-root", str(Path(__file__).parent / "resume_function"), "--handler", "app.handler")
ANSWERS = 40
PACES = (0, 0, 150, 400, 1000)
PATIENCE_S = 10
SHOWN_CHARS = 300


@dataclass
class _Undisturbed:
    """The frames of each answer that an undisturbed client of each format got, and how many bytes."""

    url: str
    known: dict[tuple[str, int, bool], tuple[Any, int]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, wire: Wire, answer: int, *, own_tool: bool) -> tuple[Any, int]:
        """(frames, bytes) of one answer."""
        key = wire.path, answer, own_tool
        with self.lock:
            if key not in self.known:
                name = f"whole-{len(self.known)}"
                connection = post(self.url, wire, wire.body(name, f"answer {answer} at 0", own_tool=own_tool))
                data = connection.read()
                self.known[key] = [frame for _, frame in events(data)], len(data)
        return self.known[key]


@dataclass
class _Case:
    """One client that is cut off."""

    number: int
    chance: random.Random
    url: str
    undisturbed: _Undisturbed
    refused: int = 0
    earlier: Any = None
    where: str = ""

    def run(self) -> str:
        """What is wrong; "" if nothing is."""
        chance = self.chance
        writer = chance.choice(FORMATS)
        reader = writer if writer in RESUMABLE and chance.random() < 0.7 else chance.choice(RESUMABLE)
        own_tool = writer.has_own_tools and reader.has_own_tools and chance.random() < 0.5
        answer, pace, kept = chance.randrange(ANSWERS), chance.choice(PACES), writer.can_keep and chance.random() < 0.4
        conversation = f"cut-{self.number}"
        self.where = f"cut {self.number}: answer {answer} at {pace}, {writer.path} and then {reader.path}, {kept=}"
        path = f"{reader.path}/{conversation}/stream"
        if chance.random() < 0.3:
            self.where += ", which is the second"
            post(
                self.url, writer, writer.body(conversation, f"answer {ANSWERS} at 0", kept=kept, own_tool=own_tool)
            ).read()
            self.earlier = self._first_frame(path)
        body = writer.body(conversation, f"answer {answer} at {pace}", kept=kept, own_tool=own_tool)
        begun = self._cut(post(self.url, writer, body), self.undisturbed.of(writer, answer, own_tool=own_tool)[1])
        expected, length = self.undisturbed.of(reader, answer, own_tool=own_tool)
        if reader is NATIVE and writer is NATIVE:
            return self._continue(path, without_partial_frame(begun), length, expected)
        return self._replay(path, reader, begun if reader is writer else b"", length, expected)

    def _cut(self, connection: Connection, length: int) -> bytes:
        """Read up to a random byte, before the first and after the last included, and go away."""
        kind = self.chance.random()
        at = 0 if kind < 0.08 else length * 2 if kind < 0.2 else self.chance.randrange(length + 1)
        data = connection.read(at) if at else b""
        connection.close()
        self.where += f", after {len(data)} of some {length} bytes"
        return data[:-1] if 0.08 <= kind < 0.14 else data

    def _first_frame(self, path: str) -> Any:
        until = time.monotonic() + PATIENCE_S
        while (connection := self._resume(path)) is None and time.monotonic() < until:
            time.sleep(0.02)
        return next(events(connection.read()))[1] if connection else None

    def _resume(self, path: str, **headers: str) -> Connection | None:
        """The stream again; None if there is nothing to resume."""
        connection = get(self.url, path, **headers)
        if connection.status == 200:
            return connection
        connection.close()
        if connection.status != 204:
            raise AssertionError(f"status {connection.status}")
        return None

    def _continue(self, path: str, have: bytes, length: int, expected: Any) -> str:
        """Resume after the last whole frame, perhaps more than once."""
        frames = [frame for _, frame in events(have)]
        until = time.monotonic() + PATIENCE_S
        for attempt in count():
            after = len(frames)
            answer = f"answer={frames[0]['message_id']}&" if frames else ""
            header = {"last_event_id": str(after)} if self.chance.random() < 0.5 else {}
            connection = self._resume(f"{path}?{answer}" if header else f"{path}?{answer}after={after}", **header)
            if connection is None and frames and frames[-1]["type"] in {"done", "error", "stopped"}:
                break
            if connection is None:
                if not self._may_wait(until):
                    return f"{self.where}: nothing is there to resume"
                continue
            data = self._cut(connection, length) if attempt < 2 and self.chance.random() < 0.4 else connection.read()
            if self._is_earlier(data) and self._may_wait(until):
                continue
            for number, (event_id, frame) in enumerate(events(data), after + 1):
                if event_id != str(number):
                    return f"{self.where}: frame {event_id} came as frame {number}"
                frames.append(frame)
        return self._compare(NATIVE, frames, expected)

    def _replay(self, path: str, reader: Wire, begun: bytes, length: int, expected: Any) -> str:
        """Begin again, perhaps more than once: the stream comes from its start."""
        until, data = time.monotonic() + PATIENCE_S, b""
        for attempt in count():
            connection = self._resume(path)
            if connection is None:
                if not self._may_wait(until):
                    return f"{self.where}: nothing is there to resume"
                continue
            is_cut = attempt < 2 and self.chance.random() < 0.4
            data = self._cut(connection, length) if is_cut else connection.read()
            if self._is_earlier(data) and self._may_wait(until):
                continue
            if not is_cut:
                break
            begun = max(begun, data, key=len)
        if not same_bytes(data).startswith(same_bytes(without_partial_frame(begun))) and reader.path != "/agui":
            return f"{self.where}: it began in another way"
        return self._compare(reader, [frame for _, frame in events(data)], expected)

    def _is_earlier(self, data: bytes) -> bool:
        """Whether it is the conversation's earlier answer, because the later one has not begun to be logged."""
        return self.earlier is not None and next(events(data), ("", None))[1] == self.earlier

    def _may_wait(self, until: float) -> bool:
        self.refused += 1
        time.sleep(0.05)
        return time.monotonic() < until

    def _compare(self, reader: Wire, frames: list[Any], expected: Any) -> str:
        if any(frame != "[DONE]" and frame["type"] == "MESSAGES_SNAPSHOT" for frame in frames):
            found = _difference((ag_ui_messages(frames), []), (ag_ui_messages(expected), []))
        else:
            found = _difference(reader.show(frames), reader.show(expected))
        return f"{self.where}: {found}" if found else ""


def _difference(shown: Any, expected: Any) -> str:
    """The first part that is another one than expected."""
    (parts, end), (expected_parts, expected_end) = shown, expected
    for part, wanted in zip_longest([*parts, end], [*expected_parts, expected_end]):
        if part != wanted:
            return f"{str(part)[:SHOWN_CHARS]} is shown, and not {str(wanted)[:SHOWN_CHARS]}"
    return ""


def cut_streams(total: int, folder: Path, seed: int, at_once: int = 4) -> Outcome:
    """Cut `total` streams in all formats, and resume them in the same or another format, in another process."""
    outcome, progress = Outcome(f"{total} cut streams"), Progress("cut streams", total)
    flags = (
        *FUNCTION,
        "--concurrency",
        str(2 * at_once),
        "--env",
        f"STORE=file:{folder / 'store'}",
        "--env",
        "MODEL_ID=any",
    )
    with local_server(folder, *flags) as server:
        undisturbed, cases = _Undisturbed(server.url), list[_Case]()

        def cut(number: int) -> str:
            case = _Case(number, random.Random(f"{seed} {number}"), server.url, undisturbed)
            cases.append(case)
            try:
                wrong = case.run()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
                wrong = f"{case.where}: {type(error).__name__}: {error}"
            progress.step()
            return wrong

        with ThreadPoolExecutor(at_once) as threads:
            outcome.wrong += filter(None, threads.map(cut, range(total)))
        outcome.did += f"; {sum(case.refused > 0 for case in cases)} answers were not there yet at first"
    return outcome
