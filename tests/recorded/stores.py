"""Stores that outlive a release, accessed from outside: an SQLite file, and a DynamoDB table on loopback."""

import base64
import contextlib
import gzip
import itertools
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import boto3
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from tests.stack import source
from winterbourne.override import override

__all__ = ["DynamoStore", "FileStore", "Item", "RecordedStore", "opened", "table"]

Item = Mapping[str, Any]
"""One stored item, by the names of its columns or attributes."""

NUMBERS: Final = itertools.count(1)
"""Numbers for table names: all moto servers of a process share their tables."""

REGION: Final = "eu-west-1"
ACCOUNT: Final = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}
OURS: Final = "recorder"
"""Marks our own requests to DynamoDB, to distinguish them from the server's."""

PRAGMAS: Final = ("application_id", "encoding", "journal_mode", "user_version")
TABLE_PROPERTIES: Final = ("BillingMode", "AttributeDefinitions", "KeySchema", "LocalSecondaryIndexes")


class RecordedStore(Protocol):
    """A store that tests access without the server."""

    recording: str
    settings: Mapping[str, str]
    operations: set[str]

    def load(self, recorded: Path) -> None:
        """Load what an earlier release has stored."""

    def save(self, recorded: Path) -> None:
        """Save it for later releases."""

    def items(self) -> list[Item]:
        """Everything, by its keys."""
        ...

    def schema(self) -> str:
        """The store's own description of its schema."""
        ...


class FileStore:
    """An SQLite file."""

    recording = "store.sqlite3.gz"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "chat.sqlite3"
        self.settings: Mapping[str, str] = {"STORE": f"file:{self._path}"}
        self.operations: set[str] = set()

    def load(self, recorded: Path) -> None:
        self._path.write_bytes(gzip.decompress(recorded.read_bytes()))

    def save(self, recorded: Path) -> None:
        """One file, with nothing left beside it."""
        whole = self._path.with_name("whole.sqlite3")
        opened = contextlib.closing
        with opened(sqlite3.connect(self._path)) as ours, opened(sqlite3.connect(whole)) as copy:
            ours.backup(copy)
            copy.execute("pragma journal_mode = delete")
        recorded.write_bytes(gzip.compress(whole.read_bytes(), mtime=0))

    def items(self) -> list[Item]:
        with contextlib.closing(sqlite3.connect(self._path)) as file:
            file.row_factory = sqlite3.Row
            return [dict(row) for row in file.execute("select * from items order by pk, sk")]

    def schema(self) -> str:
        """The statements that created it, and the pragmas in the file header."""
        with contextlib.closing(sqlite3.connect(self._path)) as file:
            statements = file.execute("select sql from sqlite_master where sql is not null order by name").fetchall()
            pragmas = [(name, file.execute(f"pragma {name}").fetchone()[0]) for name in PRAGMAS]
        return "\n".join([*(sql for (sql,) in statements), *(f"{name} = {value}" for name, value in pragmas), ""])


class DynamoStore:
    """The table that template.yaml makes, in a DynamoDB of this machine.

    Args:
        url: DynamoDB's.
        operations: The operations that others than us requested; grows.
    """

    recording = "items.json.gz"

    def __init__(self, url: str, operations: set[str]) -> None:
        self.operations = operations
        self._table = f"kept-{next(NUMBERS)}"
        self.settings: Mapping[str, str] = {"STORE": f"dynamodb:{self._table}", "AWS_ENDPOINT_URL": url, **ACCOUNT}
        self._client: Any = boto3.client(
            "dynamodb",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(user_agent_extra=OURS),
        )
        declared = source()["Resources"]["Conversations"]["Properties"]
        self._client.create_table(TableName=self._table, **{name: declared[name] for name in TABLE_PROPERTIES})

    def load(self, recorded: Path) -> None:
        for item in table(recorded):
            self._client.put_item(TableName=self._table, Item=_with_bytes(item))

    def save(self, recorded: Path) -> None:
        """DynamoDB JSON, as `aws dynamodb scan` prints it."""
        items = [_with_text(item) for item in self._scanned()]
        text = json.dumps(items, indent=1, sort_keys=True) + "\n"
        recorded.write_bytes(gzip.compress(text.encode(), mtime=0))

    def items(self) -> list[Item]:
        """Without `write_id`, the mark by which a write knows itself when it is repeated: a new one each time."""
        return [
            {name: next(iter(value.values())) for name, value in item.items() if name != "write_id"}
            for item in self._scanned()
        ]

    def schema(self) -> str:
        """The properties of the table that the template does not set."""
        return ""

    def _scanned(self) -> list[dict[str, Any]]:
        pages = self._client.get_paginator("scan").paginate(TableName=self._table)
        found = [item for page in pages for item in page["Items"]]
        return sorted(found, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


def table(recorded: Path) -> list[Item]:
    """The items of a recorded table."""
    items: list[Item] = json.loads(gzip.decompress(recorded.read_bytes()))
    return items


def _with_bytes(item: Item) -> dict[str, Any]:
    body = {"body": {"B": base64.b64decode(item["body"]["B"])}} if "body" in item else {}
    return {**item, **body}


def _with_text(item: Item) -> dict[str, Any]:
    body = {"body": {"B": base64.b64encode(item["body"]["B"]).decode()}} if "body" in item else {}
    return {**item, **body}


@contextlib.contextmanager
def opened(kind: str, folder: Path) -> Iterator[RecordedStore]:
    """A store of a kind, with nothing in it."""
    if kind == "file":
        yield FileStore(folder)
        return
    operations: set[str] = set()
    with _dynamodb(operations) as url:
        yield DynamoStore(url, operations)


@contextlib.contextmanager
def _dynamodb(operations: set[str]) -> Iterator[str]:
    """A DynamoDB on a free port that records the operations requested."""
    app = DomainDispatcherApplication(create_backend_app)

    def noted(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if OURS not in environ["HTTP_USER_AGENT"]:
            operations.add(environ["HTTP_X_AMZ_TARGET"].partition(".")[2])
        answer: Iterable[bytes] = app(environ, start)
        return answer

    server = make_server("127.0.0.1", 0, noted, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(MotoRequestHandler):
    @override
    def log_request(self, *_: object) -> None:
        pass
