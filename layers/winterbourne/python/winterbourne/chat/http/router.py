"""Which endpoint answers which method and path.

Knows paths, nothing of what is behind them.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar
from urllib.parse import unquote

from winterbourne.chat.errors import RequestRejected

__all__ = ["Routes"]

T = TypeVar("T")


class Routes(Generic[T]):
    """A table of paths like `/conversations/{id}`.

    Args:
        table: (method, path) → endpoint. A path with GET answers HEAD as well.
    """

    def __init__(self, table: Mapping[tuple[str, str], T]) -> None:
        self._table = {(method, tuple(path.split("/"))): endpoint for (method, path), endpoint in table.items()}

    def find(self, method: str, path: str) -> tuple[T, dict[str, str]]:
        """The endpoint, and what stood in the places of the path's names.

        Raises:
            RequestRejected: 404 for an unknown path, 405 with `allow` for a method that it does not take.
        """
        parts = tuple(path.split("/"))
        fits = {taken: pattern for taken, pattern in self._table if _fits(pattern, parts)}
        if not fits:
            raise RequestRejected(404, "not_found", "there is nothing at this path")
        wanted = "GET" if method == "HEAD" else method
        if wanted not in fits:
            raise _not_allowed(fits)
        pattern = fits[wanted]
        return self._table[wanted, pattern], dict(_names(pattern, parts))


def _fits(pattern: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    return len(pattern) == len(parts) and all(
        part != "" if _is_name(place) else place == part for place, part in zip(pattern, parts, strict=True)
    )


def _names(pattern: tuple[str, ...], parts: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(place[1:-1], unquote(part)) for place, part in zip(pattern, parts, strict=True) if _is_name(place)]


def _is_name(place: str) -> bool:
    return place.startswith("{")


def _not_allowed(fits: Mapping[str, object]) -> RequestRejected:
    allow = ", ".join(sorted({*fits, *(["HEAD"] if "GET" in fits else [])}))
    return RequestRejected(405, "method_not_allowed", f"this path takes {allow}", {"allow": allow})
