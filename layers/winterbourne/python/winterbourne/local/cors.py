"""CORS as a function URL does it: preflight responses and response headers. Pure.

If CORS is configured, the URL answers preflights itself with the configured values, and the function never sees them.
To every other response it adds its headers to those of the function. A function that sets them as well sends
duplicates, which browsers reject; that should show here and not after deploying.
https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html#urls-cors
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Cors"]

_LOCAL_ORIGIN: Final = re.compile(r"https?://(([\w-]+\.)*localhost|127(\.\d+){3}|\[::1\])(:\d+)?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Cors:
    """A function URL's `Cors` property; `max_age` in seconds. `allow_local_origins` adds those of this machine."""

    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age: int | None = None
    allow_local_origins: bool = False

    def handles_preflight(self, method: str, headers: Mapping[str, str]) -> bool:
        """Whether a request is a preflight that the URL answers itself. Header names are in lower case.

        If CORS is not configured, preflights go to the function like any other request.
        """
        is_preflight = method == "OPTIONS" and {"origin", "access-control-request-method"} <= headers.keys()
        return is_preflight and self != Cors()

    def preflight_headers(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """The headers of a preflight response; none if the origin or the method is not allowed."""
        requested = headers.get("access-control-request-method", "")
        common = self._common_headers(headers)
        if not common or not {requested, "*"} & set(self.allow_methods):
            return []
        answer = [
            *common,
            ("access-control-allow-methods", ",".join(self.allow_methods)),
            ("access-control-allow-headers", ",".join(self.allow_headers)),
            ("access-control-max-age", "" if self.max_age is None else str(self.max_age)),
        ]
        return [(name, value) for name, value in answer if value]

    def response_headers(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """The headers to add to the function's response to a request with these headers."""
        added = self._common_headers(headers)
        if added and self.expose_headers:
            added.append(("access-control-expose-headers", ",".join(self.expose_headers)))
        return added

    def _common_headers(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """The headers of every response; none if the origin is not allowed."""
        origin = self._allowed_origin(headers)
        answer = [
            ("access-control-allow-origin", origin),
            ("access-control-allow-credentials", "true" if self.allow_credentials else ""),
            ("vary", "" if origin == "*" else "Origin"),
        ]
        return [(name, value) for name, value in answer if value] if origin else []

    def _allowed_origin(self, headers: Mapping[str, str]) -> str:
        """The Access-Control-Allow-Origin value; empty if not allowed. Browsers reject `*` with credentials."""
        origin = headers.get("origin", "")
        if "*" in self.allow_origins:
            return (origin if self.allow_credentials else "*") if origin else ""
        is_local = self.allow_local_origins and _LOCAL_ORIGIN.fullmatch(origin)
        return origin if is_local or origin in self.allow_origins else ""
