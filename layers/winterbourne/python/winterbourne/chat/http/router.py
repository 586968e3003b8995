"""URL router: matches a method and a path to an endpoint and extracts path parameters."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Generic, TypeVar
from urllib.parse import unquote

from winterbourne.chat.errors import RequestRejected

__all__ = ["Router"]

T = TypeVar("T")


class Router(Generic[T]):
    """A routing table of paths like `/conversations/{id}`, or `/files/{path+}` for the rest. No URL may match two.

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
        self._patterns = {path: methods for path, methods in methods_by_path.items() if "{" in path}

    def is_fixed(self, path: str) -> bool:
        """Whether there is a route for exactly this path, without parameters."""
        return path in self._fixed

    def match(self, method: str, path: str) -> tuple[T, dict[str, str]]:
        """Find the endpoint and the path parameters, percent-decoded.

        Raises:
            RequestRejected: 404 for an unknown path, 405 with `allow` for a method that the path does not support.
        """
        methods, path_params = self._fixed.get(path), dict[str, str]()
        if methods is None:
            methods, path_params = self._match_pattern(path)
        if method not in methods:
            allow = ", ".join(sorted(methods))
            raise RequestRejected(405, "method_not_allowed", f"this path only supports {allow}", {"allow": allow})
        return methods[method], path_params

    def _match_pattern(self, path: str) -> tuple[dict[str, T], dict[str, str]]:
        for pattern, methods in self._patterns.items():
            if found := _compile(pattern).fullmatch(path):
                return methods, {name: unquote(segment) for name, segment in found.groupdict().items()}
        raise RequestRejected(404, "not_found", "there is nothing at this path")


@cache
def _compile(path: str) -> re.Pattern[str]:
    """A pattern with a group for each parameter, which is one segment, or with a + one or more, and not empty."""
    return re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", re.sub(r"{(\w+)\+}", r"(?P<\1>.+)", path)))
