"""URL router: matches a method and a path to an endpoint and extracts path parameters."""

from collections.abc import Mapping
from typing import Generic, TypeVar
from urllib.parse import unquote

from winterbourne.chat.errors import RequestRejected

__all__ = ["Router"]

T = TypeVar("T")


class Router(Generic[T]):
    """A routing table of paths like `/conversations/{id}`. No URL may match two of them.

    Args:
        routes: (method, path) → endpoint. A GET route also answers HEAD.
    """

    def __init__(self, routes: Mapping[tuple[str, str], T]) -> None:
        methods_by_path: dict[str, dict[str, T]] = {}
        for (method, path), endpoint in routes.items():
            methods = methods_by_path.setdefault(path, {})
            methods[method] = endpoint
            if method == "GET":
                methods["HEAD"] = endpoint
        self._fixed = {path: methods for path, methods in methods_by_path.items() if "{" not in path}
        self._patterns = [(path.split("/"), methods) for path, methods in methods_by_path.items() if "{" in path]

    def match(self, method: str, path: str) -> tuple[T, dict[str, str]]:
        """Find the endpoint and the path parameters, percent-decoded.

        Raises:
            RequestRejected: 404 for an unknown path, 405 with `allow` for a method that the path does not support.
        """
        methods, path_params = self._fixed.get(path), dict[str, str]()
        if methods is None:
            methods, path_params = self._match_pattern(path.split("/"))
        if method not in methods:
            allow = ", ".join(sorted(methods))
            raise RequestRejected(405, "method_not_allowed", f"this path only supports {allow}", {"allow": allow})
        return methods[method], path_params

    def _match_pattern(self, segments: list[str]) -> tuple[dict[str, T], dict[str, str]]:
        for pattern, methods in self._patterns:
            path_params = _path_params(pattern, segments)
            if path_params is not None:
                return methods, path_params
        raise RequestRejected(404, "not_found", "there is nothing at this path")


def _path_params(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    """The path parameters if the segments match the pattern, else None."""
    if len(pattern) != len(segments):
        return None
    path_params = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if expected.startswith("{") and segment:
            path_params[expected[1:-1]] = unquote(segment)
        elif expected != segment:
            return None
    return path_params
