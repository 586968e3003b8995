"""Store factory: makes the store that STORE names. Imports only its backend, to keep the cold start short."""

# ruff: noqa: PLC0415 - as said above

import os
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.settings import choose, expect_made
from winterbourne.chat.storage.base import Store

__all__ = ["StoreFactory", "make_store"]

MAX_MEMORY_BYTES: Final = 64 * 2**20

StoreFactory: TypeAlias = Callable[[str], Store]
"""Makes a store of the text after `SCHEME:` in STORE. Returns at once; a thread connects it."""


def make_store(location: str, own: Mapping[str, StoreFactory] | None = None) -> Store:
    """The store at `memory`, `file:PATH`, `dynamodb:TABLE`, or `SCHEME:NAME` with a scheme of `own`.

    Raises:
        SettingsError: There is no such scheme, or the name after it is missing.
    """
    scheme, _, name = location.partition(":")
    if scheme in STORES and (name == "") != (scheme == "memory"):
        raise SettingsError("STORE: expected memory, file:PATH or dynamodb:TABLE")
    return expect_made("STORE", scheme, choose("STORE", scheme, STORES, own)(name), Store)


def _open_file(path: str) -> Store:
    from winterbourne.chat.storage.sqlite import SqliteBackend

    # One thread, because an SQLite connection may only be used in the thread that made it.
    return Store(lambda: SqliteBackend(path), threads=1, is_shared=True)


def _open_dynamodb(table: str) -> Store:
    from winterbourne.chat.storage.dynamodb import DynamoBackend

    return Store(lambda: DynamoBackend(table), threads=0, is_shared=True)


def _open_memory(_: str) -> Store:
    from winterbourne.chat.storage.memory import MemoryBackend

    return Store(lambda: MemoryBackend(_max_bytes()), threads=0, is_shared=False)


def _max_bytes() -> int:
    """An eighth of the function's memory, but not more than MAX_MEMORY_BYTES."""
    function_mb = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"))
    return min(function_mb * 2**20 // 8, MAX_MEMORY_BYTES)


STORES: Final[Mapping[str, StoreFactory]] = {"memory": _open_memory, "file": _open_file, "dynamodb": _open_dynamodb}
