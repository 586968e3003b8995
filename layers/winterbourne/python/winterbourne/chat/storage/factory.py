"""Store factory: makes the store that STORE names. Imports only its backend, to keep the cold start short."""

import os
from typing import Final

from winterbourne.chat.storage.base import Store

__all__ = ["make_store"]

MAX_MEMORY_BYTES: Final = 64 * 2**20
DYNAMODB_THREADS: Final = 8  # boto3's connection pool has 10


def make_store(location: str) -> Store:
    """The store at `memory`, `file:PATH` or `dynamodb:TABLE`. Returns at once; a thread connects it."""
    scheme, _, name = location.partition(":")
    match scheme:
        case "file":
            from winterbourne.chat.storage.sqlite import SqliteBackend  # noqa: PLC0415 - only if it is used

            # One thread, because an SQLite connection may only be used in the thread that made it.
            return Store(lambda: SqliteBackend(name), threads=1, is_shared=True)
        case "dynamodb":
            from winterbourne.chat.storage.dynamodb import DynamoBackend  # noqa: PLC0415 - likewise

            return Store(lambda: DynamoBackend(name), threads=DYNAMODB_THREADS, is_shared=True)
        case _:
            from winterbourne.chat.storage.memory import MemoryBackend  # noqa: PLC0415 - likewise

            return Store(lambda: MemoryBackend(_max_bytes()), threads=0, is_shared=False)


def _max_bytes() -> int:
    """An eighth of the function's memory, but not more than MAX_MEMORY_BYTES."""
    function_mb = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"))
    return min(function_mb * 2**20 // 8, MAX_MEMORY_BYTES)
