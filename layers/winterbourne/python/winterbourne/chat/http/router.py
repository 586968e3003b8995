"""Which endpoint answers which method and path.

Knows paths, nothing of what is behind them.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar
from urllib.parse import unquote

from winterbourne.chat.errors import RequestRejected

__all__ = ["Router"]

T = TypeVar("T")


class Router(Generic[T]):
    """A table of paths like `/conversations/{id}`.

    Args:
        table: (method, path) → endpoint. A path with GET answers HEAD as well.
    """

    def __init__(self, routes: Mapping[tuple[str, str], T]) -> None:
        self._routes = {(method, tuple(path.split("/"))): endpoint for (method, path), endpoint in routes.items()}

    def match(self, method: str, path: str) -> tuple[T, dict[str, str]]:
        """The endpoint, and what stood in the places of the path's names.

        Raises:
            RequestRejected: 404 for an unknown path, 405 with `allow` for a method that it does not take.
        """
        segments = tuple(path.split("/"))
        pattern_by_method = {taken: pattern for taken, pattern in self._routes if _matches(pattern, segments)}
        if not pattern_by_method:
            raise RequestRejected(404, "not_found", "there is nothing at this path")
        lookup_method = "GET" if method == "HEAD" else method
        if lookup_method not in pattern_by_method:
            raise _method_not_allowed(pattern_by_method)
        pattern = pattern_by_method[lookup_method]
        return self._routes[lookup_method, pattern], dict(_path_params(pattern, segments))


def _matches(pattern: tuple[str, ...], segments: tuple[str, ...]) -> bool:
    return len(pattern) == len(segments) and all(
        part != "" if _is_path_param(place) else place == part for place, part in zip(pattern, segments, strict=True)
    )


def _path_params(pattern: tuple[str, ...], segments: tuple[str, ...]) -> list[tuple[str, str]]:
    return [
        (place[1:-1], unquote(part)) for place, part in zip(pattern, segments, strict=True) if _is_path_param(place)
    ]


def _is_path_param(segment: str) -> bool:
    return segment.startswith("{")


def _method_not_allowed(pattern_by_method: Mapping[str, object]) -> RequestRejected:
    allow = ", ".join(sorted({*pattern_by_method, *(["HEAD"] if "GET" in pattern_by_method else [])}))
    return RequestRejected(405, "method_not_allowed", f"this path takes {allow}", {"allow": allow})
