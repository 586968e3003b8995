"""What one release keeps and the next one finds: conversations written to a store, and read from a recorded one."""

import contextlib
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import httpx

from tests.recorded import stores
from tests.recorded.cases import kept as cases
from tests.recorded.exchange import ALICE
from tests.recorded.provider import Provider
from tests.recorded.servers import COMMON, HOME, running, talking
from tests.recorded.steady import shortened, steady
from tests.recorded.stores import Item, Kept
from tests.recorded.talk import Talk

__all__ = ["KINDS", "read_in_memory", "read_old", "record", "record_found", "recorded", "rendered", "write_anew"]

FOLDER: Final = HOME / "kept"
KINDS: Final = ("file", "dynamodb")
LEASE_S: Final = 20  # longer than any of these requests takes, so that no lease is renewed and versions are the same
SETTINGS: Final = {
    "MODEL_PROVIDER": "anthropic",
    **COMMON,
    "CONVERSATION_LEASE": str(LEASE_S),
    "CONVERSATION_TTL_DAYS": "36500",
    "LIMIT_REQUESTS_PER_MINUTE": "1000",
    "LIMIT_TOKENS_PER_DAY": "1000000",
}

UNSTEADY: Final = (
    (re.compile(r"^(\w+#.*  )0\d{13}#", re.MULTILINE), r"\1<epoch>#"),
    (re.compile(r'("?(?:created_ms|epoch|expires_at_s|lease_until_ms|updated_ms)"?: ?)[1-9]\d*'), r"\1<time>"),
    (re.compile(r"^(limits#.*  \w+#)\d+((?:\n  .*)*?\n  number: )\d+", re.MULTILINE), r"\1<window>\2<count>"),
    (re.compile(r"^(stops#.*(?:\n  .*)*?\n  number: )\d+", re.MULTILINE), r"\1<time>"),
)


def write_anew(kind: str, folder: Path, model: Provider) -> str:
    """Hold the conversations with a store that is empty; what it has then, as text."""
    with _holding(kind, folder, model) as store:
        return rendered(store.items())


def read_old(kind: str, folder: Path, model: Provider) -> tuple[str, str]:
    """Show, then continue and delete what was recorded: the two transcripts."""
    with stores.opened(kind, folder) as store:
        store.load(FOLDER / kind / store.recording)
        with _server(folder, store, model) as talk:
            shown = shortened(talk.record(cases.shown()))
            return shown, steady(talk.record(cases.continued(large=kind == "file")))


def read_in_memory(folder: Path, model: Provider) -> str:
    """Hold the conversations where nothing outlives the process, and show them."""
    with running(folder, SETTINGS | {"STORE": "memory"}, model, "--managed-instances", "8") as server:
        talk = talking(server, model)
        with _written(talk, large=False):
            return steady(talk.record(cases.shown()))


def recorded(kind: str, name: str) -> str:
    """A text that was recorded of a kind of store."""
    return (FOLDER / kind / f"{name}.txt").read_bytes().decode()


def record(folder: Path, model: Provider) -> None:
    """Record every store anew, and what is found in it once its last request has lost its lease."""
    for kind in KINDS:
        (here := folder / kind).mkdir()
        (FOLDER / kind).mkdir(parents=True, exist_ok=True)
        with _holding(kind, here, model) as store:
            store.save(FOLDER / kind / store.recording)
            _write(kind, items=rendered(store.items()))
    time.sleep(LEASE_S)
    record_found(folder, model)


def record_found(folder: Path, model: Provider) -> None:
    """Record anew what is found in the recorded stores, which stay as they are."""
    for kind in KINDS:
        (here := folder / f"old-{kind}").mkdir()
        shown, continued = read_old(kind, here, model)
        _write(kind, shown=shown, continued=continued)
    (FOLDER / "memory").mkdir(exist_ok=True)
    (here := folder / "memory").mkdir()
    _write("memory", shown=read_in_memory(here, model))


def rendered(items: Iterable[Item]) -> str:
    """Items as text: a line with the keys, a line for each of the others. Counters of two minutes are as one."""
    blocks = (f"{item['pk']}  {item['sk']}\n{''.join(_lines(item))}" for item in items)
    text = steady("\n".join(blocks))
    for pattern, replacement in UNSTEADY:
        text = pattern.sub(replacement, text)
    return "\n\n".join(dict.fromkeys(text.split("\n\n")))


def _lines(item: Item) -> Iterator[str]:
    for name, value in sorted(item.items()):
        if name not in {"pk", "sk"}:
            yield f"  {name}: {value.decode(errors='backslashreplace') if isinstance(value, bytes) else value}\n"


@contextlib.contextmanager
def _holding(kind: str, folder: Path, model: Provider) -> Iterator[Kept]:
    """A store in which all conversations have been written, and the last one goes on."""
    with (
        stores.opened(kind, folder) as store,
        _server(folder, store, model) as talk,
        _written(talk, large=kind == "file"),
    ):
        yield store


@contextlib.contextmanager
def _server(folder: Path, store: Kept, model: Provider) -> Iterator[Talk]:
    with running(folder, {**SETTINGS, **store.settings}, model, "--managed-instances", "8") as server:
        yield talking(server, model)


@contextlib.contextmanager
def _written(talk: Talk, *, large: bool) -> Iterator[None]:
    """All conversations are written while the block runs, and the last one goes on."""
    *whole, left = cases.written(large=large)
    talk.record(whole)
    talk.provider.expect(left.answers)
    with httpx.stream(left.method, talk.url + left.path, content=left.body, headers=dict(left.headers)) as answer:
        _await(talk, cases.LEFT, answer)
        yield
        talk.provider.go_on()


def _await(talk: Talk, conversation: str, answer: httpx.Response) -> None:
    """Until its question is kept, which happens beside the answer."""
    answer.raise_for_status()
    for _ in range(500):
        if httpx.get(f"{talk.url}/conversations/{conversation}", headers=dict(ALICE)).json().get("messages"):
            return
        time.sleep(0.01)
    raise AssertionError(f"{conversation} was not kept")


def _write(kind: str, **texts: str) -> None:
    for name, text in texts.items():
        (FOLDER / kind / f"{name}.txt").write_bytes(text.encode())
