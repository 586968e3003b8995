"""Stores for tests: one for each storage backend, on a clock that is moved by hand."""

import asyncio
import contextlib
import functools
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from unittest import mock

import boto3
import httpx
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # it ships no types
from werkzeug.serving import make_server

from winterbourne.chat.infra import http_pool
from winterbourne.chat.storage.base import Item, Store
from winterbourne.chat.storage.dynamodb import DynamoBackend
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.storage.sqlite import SqliteBackend
from winterbourne.override import override

__all__ = [
    "KINDS",
    "TABLE",
    "TEST_ACCOUNT",
    "Clock",
    "SlowStore",
    "aws",
    "dynamodb_table",
    "open_store",
    "template_table",
]

KINDS: Final = ("memory", "file", "dynamodb")
TABLE: Final = "conversations"
TEST_ACCOUNT: Final = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-west-1",
}


class Clock:
    """A wall clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time_s


class SlowStore(Store):
    """A shared store in memory whose every call takes `delay_s` seconds before it has its effect."""

    def __init__(self, delay_s: float = 0) -> None:
        super().__init__(MemoryBackend, threads=0, is_shared=True)
        self.delay_s = delay_s

    @override
    async def get(self, pk: str, sk: str) -> Item | None:
        await asyncio.sleep(self.delay_s)
        return await super().get(pk, sk)

    @override
    async def query_partition(self, pk: str) -> list[Item]:
        await asyncio.sleep(self.delay_s)
        return await super().query_partition(pk)

    @override
    async def query_newest(self, pk: str, limit: int, cursor: Item | None = None) -> list[Item]:
        await asyncio.sleep(self.delay_s)
        return await super().query_newest(pk, limit, cursor)

    @override
    async def put(self, items: Sequence[Item]) -> None:
        await asyncio.sleep(self.delay_s)
        await super().put(items)

    @override
    async def compare_and_set(self, item: Item) -> bool:
        await asyncio.sleep(self.delay_s)
        return await super().compare_and_set(item)

    @override
    async def increment(self, pk: str, sk: str, amount: int, expires_at_s: int) -> int:
        await asyncio.sleep(self.delay_s)
        return await super().increment(pk, sk, amount, expires_at_s)

    @override
    async def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        await asyncio.sleep(self.delay_s)
        await super().delete(keys)


@contextlib.asynccontextmanager
async def open_store(kind: str, folder: Path, clock: Clock) -> AsyncIterator[Store]:
    """A store on one kind of backend; its data is discarded afterwards."""
    with contextlib.ExitStack() as stack:
        if kind == "dynamodb":
            stack.enter_context(dynamodb_table())
            stack.enter_context(mock.patch.object(http_pool, "client", _client_of_moto))
        backends = {
            "memory": lambda: Store(MemoryBackend, threads=0, is_shared=False, now=clock),
            "file": lambda: Store(lambda: SqliteBackend(f"{folder}/chat.db"), threads=1, is_shared=True, now=clock),
            "dynamodb": lambda: Store(lambda: DynamoBackend(TABLE), threads=0, is_shared=True, now=clock),
        }
        store = backends[kind]()
        yield store
        await store.close()


@contextlib.contextmanager
def aws() -> Iterator[Callable[[str], Any]]:
    """AWS of a test account on loopback, for the environment of this process; gives boto3's client of a service."""
    with mock.patch.dict(os.environ, {**TEST_ACCOUNT, "AWS_ENDPOINT_URL": _moto_url()}):
        moto_api_backend.reset()  # all that is moto's in a process shares its state
        try:
            yield _client
        finally:
            moto_api_backend.reset()


@contextlib.contextmanager
def dynamodb_table() -> Iterator[Callable[[str], Any]]:
    """The same, with the table as it is in template.yaml."""
    with aws() as client:
        properties = ("BillingMode", "AttributeDefinitions", "KeySchema", "LocalSecondaryIndexes")
        client("dynamodb").create_table(TableName=TABLE, **{name: template_table()[name] for name in properties})
        yield client


@functools.cache
def _client(service: str) -> Any:
    make: Any = boto3.client  # the stubs accept only a literal name
    return make(service)


class _Quiet(MotoRequestHandler):
    @override
    def log_request(self, *_: object) -> None:
        pass


@functools.cache
def _moto() -> Any:
    return DomainDispatcherApplication(create_backend_app)


@functools.cache
def _moto_url() -> str:
    """A moto server that lives as long as the process; one request at a time, since moto mixes up concurrent ones."""
    turn = threading.Lock()

    def in_turn(environ: dict[str, Any], start: Any) -> Any:
        with turn:
            return _moto()(environ, start)

    server = make_server("127.0.0.1", 0, in_turn, threaded=True, request_handler=_Quiet)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


class _MotoTransport(httpx.AsyncBaseTransport):
    """To moto without a socket, which takes half of the time."""

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = httpx.WSGITransport(app=_moto()).handle_request(request)
        return httpx.Response(response.status_code, headers=response.headers, content=response.read())


@functools.cache
def _client_of_moto() -> httpx.AsyncClient:
    return httpx.AsyncClient(mounts={_moto_url(): _MotoTransport()})


@functools.cache
def template_table() -> dict[str, Any]:
    """The properties of the table in template.yaml."""
    template = yaml_parse((Path(__file__).parents[2] / "template.yaml").read_text())
    table: dict[str, Any] = template["Resources"]["Conversations"]["Properties"]
    return table
