"""SQLite storage backend: items in one file, shared by several processes on one machine."""

import contextlib
import functools
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from winterbourne.chat.storage.base import Item, is_next_version, read_item

__all__ = ["SqliteBackend"]

BUSY_TIMEOUT_S: Final = 2.0

SCHEMA: Final = """
create table if not exists items (
    pk text not null, sk text not null, body blob not null,
    number integer not null, updated_ms integer not null, expires_at_s integer not null,
    primary key (pk, sk)
);
create index if not exists newest on items (pk, updated_ms, sk) where updated_ms > 0;
create index if not exists expiring on items (expires_at_s) where expires_at_s > 0;
"""
SELECT_ITEMS: Final = "select pk, sk, body, number, updated_ms, expires_at_s from items where pk = ?"
SELECT_NEWEST: Final = f"""
{SELECT_ITEMS} and updated_ms > 0 and typeof(updated_ms) = 'integer' and (updated_ms, sk) < (?, ?)
order by updated_ms desc, sk desc limit ?
"""
UPSERT_ITEM: Final = """
insert or replace into items (pk, sk, body, number, updated_ms, expires_at_s) values (?, ?, ?, ?, ?, ?)
"""
INCREMENT_COUNTER: Final = """
insert into items (pk, sk, body, number, updated_ms, expires_at_s) values (?, ?, x'', ?, 0, ?)
on conflict do update set number = number + excluded.number returning number
"""
END_OF_TIME_MS: Final = 1 << 62


class SqliteBackend:
    """A `Backend` in an SQLite file. Must be created, used and closed in the same thread.

    Args:
        path: Path of the file; the file is created if missing, its folder is not.

    Raises:
        sqlite3.Error: The file cannot be opened or is not an SQLite database.
    """

    def __init__(self, path: str) -> None:
        # Autocommit: each statement is its own transaction unless one was begun explicitly.
        self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        self._connection.text_factory = functools.partial(str, encoding="utf-8", errors="replace")
        try:
            self._connection.execute("pragma journal_mode = wal")  # readers and a writer do not block each other
            self._connection.execute("pragma synchronous = normal")
            self._connection.executescript(SCHEMA)
        except sqlite3.Error:
            self._connection.close()
            raise

    def get(self, pk: str, sk: str) -> Item | None:
        """One select by primary key."""
        return next(self._select(f"{SELECT_ITEMS} and sk = ?", pk, sk), None)

    def query_partition(self, pk: str) -> list[Item]:
        """One select, ordered by sort key."""
        return list(self._select(f"{SELECT_ITEMS} order by sk", pk))

    def query_newest(self, pk: str, limit: int, cursor: Item | None) -> list[Item]:
        """One select over the partial index `newest`, with keyset pagination."""
        updated_ms, sk = (cursor.updated_ms, cursor.sk) if cursor else (END_OF_TIME_MS, "")
        return list(self._select(SELECT_NEWEST, pk, updated_ms, sk, limit))

    def put(self, items: Sequence[Item]) -> None:
        """Insert or replace all items in one transaction."""
        with self._transaction():
            self._connection.executemany(UPSERT_ITEM, map(_to_row, items))

    def compare_and_set(self, item: Item, now_s: float) -> bool:
        """Check the version and write, in one write transaction."""
        with self._transaction():
            if not is_next_version(self.get(item.pk, item.sk), item, now_s):
                return False
            self._connection.execute(UPSERT_ITEM, _to_row(item))
            return True

    def increment(self, pk: str, sk: str, amount: int, expires_at_s: int) -> int:
        """One upsert that returns the sum."""
        return int(self._connection.execute(INCREMENT_COUNTER, (pk, sk, amount, expires_at_s)).fetchall()[0][0])

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """Delete all items in one transaction."""
        with self._transaction():
            self._connection.executemany("delete from items where pk = ? and sk = ?", keys)

    def delete_expired(self, now_s: float) -> None:
        """One delete over the partial index `expiring`."""
        self._connection.execute("delete from items where expires_at_s > 0 and expires_at_s <= ?", (now_s,))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _select(self, query: str, *values: str | int) -> Iterator[Item]:
        for pk, sk, body, number, updated_ms, expires_at_s in self._connection.execute(query, values):
            yield read_item(pk, sk, body=body, number=number, updated_ms=updated_ms, expires_at_s=expires_at_s)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Take the write lock at the start: upgrading a read transaction could fail because of another writer."""
        self._connection.execute("begin immediate")
        with self._connection:
            yield


def _to_row(item: Item) -> tuple[str, str, bytes, int, int, int]:
    return item.pk, item.sk, item.body, item.number, item.updated_ms, item.expires_at_s
