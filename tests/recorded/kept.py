"""Storage compatibility: conversations written to a new store, and read from a recorded one."""

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from tests.recorded import stores
from tests.recorded.cases import kept as cases
from tests.recorded.exchange import ALICE
from tests.recorded.normalize import shortened, steady
from tests.recorded.provider import Provider
from tests.recorded.relative_times import with_relative_times
from tests.recorded.servers import COMMON, HOME, running, transcript_client
from tests.recorded.stores import Item, RecordedStore
from tests.recorded.transcript_client import TranscriptClient

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
NEW_COUNTERS: Final = ("reserved#", "other_requests#")
NEW_PARTITIONS: Final = ("stream#",)
NEW_FIELDS: Final = re.compile(r',"opaque":\{[^{}]*(?:\{[^{}]*\})?[^{}]*\}|,"version":\d+|,"usage":\{[^{}]*\}')
LEASE_S: Final = 20  # longer than any of these requests takes, so that no lease is renewed and versions are the same
SETTINGS: Final = {
    **COMMON,
    "CONVERSATION_LEASE": str(LEASE_S),
    "CONVERSATION_TTL_DAYS": str(cases.TTL_DAYS),
    "LIMIT_REQUESTS_PER_MINUTE": "1000",
    "LIMIT_TOKENS_PER_DAY": "1000000",
}


class Written(NamedTuple):
    """A written store: its items, its schema, and the operations that wrote it."""

    items: str
    schema: str
    operations: frozenset[str]


class Found(NamedTuple):
    """A recorded store: its items, two transcripts of using it, its schema then, and the operations used."""

    items: str
    shown: str
    continued: str
    schema: str
    operations: frozenset[str]


def write_anew(kind: str, folder: Path, model_provider: Provider) -> Written:
    """Run the conversations with an empty store."""
    with _holding(kind, folder, model_provider) as store:
        return Written(rendered(store.items()), store.schema(), frozenset(store.operations))


def read_old(kind: str, folder: Path, model_provider: Provider) -> Found:
    """Show, then continue and delete the recorded conversations."""
    with stores.opened(kind, folder) as store:
        store.load(FOLDER / kind / store.recording)
        items, shown, continued = rendered(store.items()), "", ""
        for name in cases.SERVERS:
            with _server(name, folder, store, model_provider) as client:
                shown += f"# {name}\n\n{client.record(cases.shown(name))}\n"
                continued += f"# {name}\n\n{client.record(cases.continued(name))}\n"
        return Found(items, shortened(shown), steady(continued), store.schema(), frozenset(store.operations))


def read_in_memory(folder: Path, model_provider: Provider) -> str:
    """Run the conversations with the in-memory store, and show them."""
    settings = {**SETTINGS, **cases.SERVERS[LAST], "STORE": "memory"}
    with running(folder, settings, model_provider, "--managed-instances", "8") as server:
        client = transcript_client(server, model_provider)
        listing, *rest = cases.shown(LAST)
        with _written(client, LAST):
            listed = client.record([listing])  # which releases the answer that is still running
            _await(client, lambda conversation: not conversation["running"])
            return steady("\n".join((listed, client.record(rest))))


def recorded(kind: str, name: str) -> str:
    """A text that was recorded for a kind of store."""
    return (FOLDER / kind / f"{name}.txt").read_bytes().decode()


def record(folder: Path, model_provider: Provider) -> None:
    """Record every store anew, and what is found in it once its last lease has expired."""
    for kind in KINDS:
        (here := folder / kind).mkdir()
        (FOLDER / kind).mkdir(parents=True, exist_ok=True)
        with _holding(kind, here, model_provider) as store:
            store.save(FOLDER / kind / store.recording)
    time.sleep(LEASE_S)
    record_found(folder, model_provider)


def record_found(folder: Path, model_provider: Provider) -> None:
    """Record anew what is found in the recorded stores, which stay as they are."""
    for kind in KINDS:
        (here := folder / f"old-{kind}").mkdir()
        found = read_old(kind, here, model_provider)
        _write(kind, items=found.items, shown=found.shown, continued=found.continued, schema=found.schema)
    (FOLDER / "memory").mkdir(exist_ok=True)
    (here := folder / "memory").mkdir()
    _write("memory", shown=read_in_memory(here, model_provider))


def rendered(items: Iterable[Item]) -> str:
    """Items as text: a line with the keys, a line for each other field. Without what an older release does not read."""
    there = [item for item in items if not _may_be_gone(item) and not _is_new(item)]
    blocks = (
        f"{item['pk']}  {item['sk']}\n{''.join(_lines(item))}"
        for item in map(_counted, with_relative_times(there, lease_s=LEASE_S, ttl_days=cases.TTL_DAYS))
    )
    return steady("\n".join(blocks))


def _counted(item: Item) -> Item:
    """The usage of a turn that failed is estimated, among others from the tool schemas sent to the provider."""
    is_estimate = item["pk"] == "limits#key:alice" and item["sk"].startswith("tokens#")
    return {**item, "number": "<estimated>"} if is_estimate else item


def _is_new(item: Item) -> bool:
    return bool(item["sk"].startswith(NEW_COUNTERS) or item["pk"].startswith(NEW_PARTITIONS))


def _may_be_gone(item: Item) -> bool:
    """Rate limit counters of a past minute may be deleted when a server starts, but for those of the last server."""
    return item["sk"].startswith("requests#") and not item["pk"].startswith("limits#key:")


def _lines(item: Item) -> Iterator[str]:
    for name, value in sorted(item.items()):
        if name not in {"pk", "sk"}:
            text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
            yield f"  {name}: {NEW_FIELDS.sub('', text) if isinstance(text, str) else text}\n"


@contextlib.contextmanager
def _holding(kind: str, folder: Path, model_provider: Provider) -> Iterator[RecordedStore]:
    """A store with all conversations written; the last one is still running."""
    with stores.opened(kind, folder) as store:
        for name in EARLIER:
            with _server(name, folder, store, model_provider) as client:
                client.record(cases.written(name))
        with _server(LAST, folder, store, model_provider) as client, _written(client, LAST):
            yield store


@contextlib.contextmanager
def _server(name: str, folder: Path, store: RecordedStore, model_provider: Provider) -> Iterator[TranscriptClient]:
    (here := folder / name).mkdir()
    settings = {**SETTINGS, **cases.SERVERS[name], **store.settings}
    with running(here, settings, model_provider, "--managed-instances", "8") as server:
        yield transcript_client(server, model_provider)


@contextlib.contextmanager
def _written(client: TranscriptClient, server: str) -> Iterator[None]:
    """Write a server's conversations; the last one keeps running while the block does."""
    *whole, left = cases.written(server)
    client.record(whole)
    client.provider.expect(left.answers)
    with httpx.stream(
        left.method, client.url + left.path, content=left.body, headers=dict(left.headers), timeout=30
    ) as answer:
        answer.raise_for_status()
        _await(client, lambda conversation: conversation.get("messages"))  # its question is stored concurrently
        yield
        client.provider.release()


def _await(client: TranscriptClient, condition: Callable[[Any], Any]) -> None:
    """Wait until the conversation that was left running meets a condition."""
    for _ in range(1000):
        if condition(httpx.get(f"{client.url}/conversations/{cases.LEFT}", headers=dict(ALICE), timeout=30).json()):
            return
        time.sleep(0.01)
    raise AssertionError(f"{cases.LEFT} did not come to that")


def _write(kind: str, **texts: str) -> None:
    for name, text in texts.items():
        (FOLDER / kind / f"{name}.txt").write_bytes(text.encode())
