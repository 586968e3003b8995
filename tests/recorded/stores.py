"""The stores that outlive a release, from outside: an SQLite file, and a DynamoDB table on loopback."""

import base64
import contextlib
import itertools
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import boto3
from moto.server import ThreadedMotoServer

from tests.stack import source

__all__ = ["DynamoStore", "FileStore", "Item", "Kept", "opened"]

Item = Mapping[str, Any]
"""One thing that is kept, by the names of its columns or attributes."""

NUMBERS: Final = itertools.count(1)
"""All the servers of a process have the same tables."""

REGION: Final = "eu-west-1"
ACCOUNT: Final = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}
TABLE_PROPERTIES: Final = ("BillingMode", "AttributeDefinitions", "KeySchema", "LocalSecondaryIndexes")


class Kept(Protocol):
    """What tests do to a store behind the server's back."""

    recording: str
    settings: Mapping[str, str]

    def load(self, recorded: Path) -> None:
        """Begin with what an earlier release has left."""

    def save(self, recorded: Path) -> None:
        """Leave it to later ones."""

    def items(self) -> list[Item]:
        """Everything, by its keys."""
        ...


class FileStore:
    """An SQLite file."""

    recording = "store.sqlite3"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "chat.sqlite3"
        self.settings: Mapping[str, str] = {"STORE": f"file:{self._path}"}

    def load(self, recorded: Path) -> None:
        self._path.write_bytes(recorded.read_bytes())

    def save(self, recorded: Path) -> None:
        """One file, with nothing left beside it."""
        recorded.unlink(missing_ok=True)
        opened = contextlib.closing
        with opened(sqlite3.connect(self._path)) as ours, opened(sqlite3.connect(recorded)) as copy:
            ours.backup(copy)
            copy.execute("pragma journal_mode = delete")

    def items(self) -> list[Item]:
        with contextlib.closing(sqlite3.connect(self._path)) as file:
            file.row_factory = sqlite3.Row
            return [dict(row) for row in file.execute("select * from items order by pk, sk")]


class DynamoStore:
    """The table that template.yaml makes, in a DynamoDB of this machine."""

    recording = "items.json"

    def __init__(self, url: str) -> None:
        self._table = f"kept-{next(NUMBERS)}"
        self.settings: Mapping[str, str] = {"STORE": f"dynamodb:{self._table}", "AWS_ENDPOINT_URL": url, **ACCOUNT}
        self._client: Any = boto3.client(
            "dynamodb",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        table = source()["Resources"]["Conversations"]["Properties"]
        self._client.create_table(TableName=self._table, **{name: table[name] for name in TABLE_PROPERTIES})

    def load(self, recorded: Path) -> None:
        for item in json.loads(recorded.read_text("utf-8")):
            self._client.put_item(TableName=self._table, Item=_with_bytes(item))

    def save(self, recorded: Path) -> None:
        """DynamoDB JSON, as `aws dynamodb scan` prints it."""
        items = [_with_text(item) for item in self._scanned()]
        recorded.write_text(json.dumps(items, indent=1, sort_keys=True) + "\n", "utf-8")

    def items(self) -> list[Item]:
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in self._scanned()]

    def _scanned(self) -> list[dict[str, Any]]:
        pages = self._client.get_paginator("scan").paginate(TableName=self._table)
        found = [item for page in pages for item in page["Items"]]
        return sorted(found, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


def _with_bytes(item: Item) -> dict[str, Any]:
    body = {"body": {"B": base64.b64decode(item["body"]["B"])}} if "body" in item else {}
    return {**item, **body}


def _with_text(item: Item) -> dict[str, Any]:
    body = {"body": {"B": base64.b64encode(item["body"]["B"]).decode()}} if "body" in item else {}
    return {**item, **body}


@contextlib.contextmanager
def opened(kind: str, folder: Path) -> Iterator[Kept]:
    """A store of a kind, with nothing in it."""
    if kind == "file":
        yield FileStore(folder)
        return
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield DynamoStore(f"http://{host}:{port}")
    finally:
        server.stop()
