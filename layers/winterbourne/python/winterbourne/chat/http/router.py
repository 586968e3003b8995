"""URL router: matches a method and a path to an endpoint and extracts path parameters."""

from collections.abc import Mapping
from typing import Generic, TypeVar
from urllib.parse import unquote

from winterbourne.chat.errors import RequestRejected

__all__ = ["Router"]

T = TypeVar("T")


class Router(Generic[T]):
    """A routing table of paths like `/conversations/{id}`.

    Args:
        routes: (method, path) → endpoint. A GET route also answers HEAD.
    """

    def __init__(self, routes: Mapping[tuple[str, str], T]) -> None:
        self._routes = {(method, tuple(path.split("/"))): endpoint for (method, path), endpoint in routes.items()}

    def match(self, method: str, path: str) -> tuple[T, dict[str, str]]:
        """Find the endpoint and the path parameters, percent-decoded.

        Raises:
            RequestRejected: 404 for an unknown path, 405 with `allow` for a method that the path does not support.
        """
        segments = tuple(path.split("/"))
        pattern_by_method = {allowed: pattern for allowed, pattern in self._routes if _matches(pattern, segments)}
        if not pattern_by_method:
            raise RequestRejected(404, "not_found", "there is nothing at this path")
        lookup_method = "GET" if method == "HEAD" else method
        if lookup_method not in pattern_by_method:
            raise _method_not_allowed(pattern_by_method)
        pattern = pattern_by_method[lookup_method]
        return self._routes[lookup_method, pattern], dict(_path_params(pattern, segments))


def _matches(pattern: tuple[str, ...], segments: tuple[str, ...]) -> bool:
    return len(pattern) == len(segments) and all(
        segment != "" if _is_path_param(expected) else segment == expected
        for expected, segment in zip(pattern, segments, strict=True)
    )


def _path_params(pattern: tuple[str, ...], segments: tuple[str, ...]) -> list[tuple[str, str]]:
    return [
        (name[1:-1], unquote(segment)) for name, segment in zip(pattern, segments, strict=True) if _is_path_param(name)
    ]


def _is_path_param(segment: str) -> bool:
    return segment.startswith("{")


def _method_not_allowed(pattern_by_method: Mapping[str, object]) -> RequestRejected:
    allow = ", ".join(sorted({*pattern_by_method, *(["HEAD"] if "GET" in pattern_by_method else [])}))
    return RequestRejected(405, "method_not_allowed", f"this path only supports {allow}", {"allow": allow})
