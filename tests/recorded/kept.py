"""What one release keeps and the next one finds: conversations written to a store, and read from a recorded one."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from tests.recorded import stores
from tests.recorded.cases import kept as cases
from tests.recorded.exchange import ALICE
from tests.recorded.normalize import shortened, steady
from tests.recorded.provider import Provider
from tests.recorded.relative_times import told
from tests.recorded.servers import COMMON, HOME, running, talking
from tests.recorded.stores import Item, Kept
from tests.recorded.transcript_client import Talk

__all__ = [
    "KINDS",
    "Found",
    "Written",
    "read_in_memory",
    "read_old",
    "record",
    "record_found",
    "recorded",
    "rendered",
    "write_anew",
]

FOLDER: Final = HOME / "kept"
KINDS: Final = ("file", "dynamodb")
*EARLIER, LAST = cases.SERVERS
LEASE_S: Final = 20  # longer than any of these requests takes, so that no lease is renewed and versions are the same
SETTINGS: Final = {
    **COMMON,
    "CONVERSATION_LEASE": str(LEASE_S),
    "CONVERSATION_TTL_DAYS": str(cases.TTL_DAYS),
    "LIMIT_REQUESTS_PER_MINUTE": "1000",
    "LIMIT_TOKENS_PER_DAY": "1000000",
}


class Written(NamedTuple):
    """What a store has in the end, its schema, and by which operations it came there."""

    items: str
    schema: str
    operations: frozenset[str]


class Found(NamedTuple):
    """What is in a recorded store, two transcripts, the schema it has then, and the operations that it took."""

    items: str
    shown: str
    continued: str
    schema: str
    operations: frozenset[str]


def write_anew(kind: str, folder: Path, model: Provider) -> Written:
    """Hold the conversations with a store that is empty."""
    with _holding(kind, folder, model) as store:
        return Written(rendered(store.items()), store.schema(), frozenset(store.operations))


def read_old(kind: str, folder: Path, model: Provider) -> Found:
    """Show, then continue and delete what was recorded."""
    with stores.opened(kind, folder) as store:
        store.load(FOLDER / kind / store.recording)
        items, shown, continued = rendered(store.items()), "", ""
        for name in cases.SERVERS:
            with _server(name, folder, store, model) as talk:
                shown += f"# {name}\n\n{talk.record(cases.shown(name))}\n"
                continued += f"# {name}\n\n{talk.record(cases.continued(name))}\n"
        return Found(items, shortened(shown), steady(continued), store.schema(), frozenset(store.operations))


def read_in_memory(folder: Path, model: Provider) -> str:
    """Hold the conversations where nothing outlives the process, and show them."""
    settings = {**SETTINGS, **cases.SERVERS[LAST], "STORE": "memory"}
    with running(folder, settings, model, "--managed-instances", "8") as server:
        talk = talking(server, model)
        with _written(talk, LAST):
            return steady(talk.record(cases.shown(LAST)))


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
    time.sleep(LEASE_S)
    record_found(folder, model)


def record_found(folder: Path, model: Provider) -> None:
    """Record anew what is found in the recorded stores, which stay as they are."""
    for kind in KINDS:
        (here := folder / f"old-{kind}").mkdir()
        found = read_old(kind, here, model)
        _write(kind, items=found.items, shown=found.shown, continued=found.continued, schema=found.schema)
    (FOLDER / "memory").mkdir(exist_ok=True)
    (here := folder / "memory").mkdir()
    _write("memory", shown=read_in_memory(here, model))


def rendered(items: Iterable[Item]) -> str:
    """Items as text: a line with the keys, a line for each of the others."""
    there = [item for item in items if not _may_be_gone(item)]
    blocks = (
        f"{item['pk']}  {item['sk']}\n{''.join(_lines(item))}"
        for item in map(_counted, told(there, lease_s=LEASE_S, ttl_days=cases.TTL_DAYS))
    )
    return steady("\n".join(blocks))


def _counted(item: Item) -> Item:
    """What a turn used that broke is estimated, by what the model was told of tools among others."""
    is_estimate = item["pk"] == "limits#key:alice" and item["sk"].startswith("tokens#")
    return {**item, "number": "<estimated>"} if is_estimate else item


def _may_be_gone(item: Item) -> bool:
    """Counters of a minute that is over go when a server starts: those from before the last one may."""
    return item["sk"].startswith("requests#") and not item["pk"].startswith("limits#key:")


def _lines(item: Item) -> Iterator[str]:
    for name, value in sorted(item.items()):
        if name not in {"pk", "sk"}:
            yield f"  {name}: {value.decode(errors='backslashreplace') if isinstance(value, bytes) else value}\n"


@contextlib.contextmanager
def _holding(kind: str, folder: Path, model: Provider) -> Iterator[Kept]:
    """A store in which all conversations have been written, and the last one goes on."""
    with stores.opened(kind, folder) as store:
        for name in EARLIER:
            with _server(name, folder, store, model) as talk:
                talk.record(cases.written(name))
        with _server(LAST, folder, store, model) as talk, _written(talk, LAST):
            yield store


@contextlib.contextmanager
def _server(name: str, folder: Path, store: Kept, model: Provider) -> Iterator[Talk]:
    (here := folder / name).mkdir()
    settings = {**SETTINGS, **cases.SERVERS[name], **store.settings}
    with running(here, settings, model, "--managed-instances", "8") as server:
        yield talking(server, model)


@contextlib.contextmanager
def _written(talk: Talk, server: str) -> Iterator[None]:
    """A server's conversations are written while the block runs, and the last one goes on."""
    *whole, left = cases.written(server)
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
