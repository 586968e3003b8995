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
        return method == "OPTIONS" and {"origin", "access-control-request-method"} <= headers.keys() and self != Cors()

    def preflight_headers(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """The headers of a preflight response; none if the origin or the method is not allowed."""
        if not {headers.get("access-control-request-method"), "*"} & set(self.allow_methods):
            return []
        preflight_headers = {
            "access-control-allow-methods": ",".join(self.allow_methods),
            "access-control-allow-headers": ",".join(self.allow_headers),
            "access-control-max-age": "" if self.max_age is None else str(self.max_age),
        }
        return self._headers(headers, preflight_headers)

    def response_headers(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """The headers to add to the function's response to a request with these headers."""
        return self._headers(headers, {"access-control-expose-headers": ",".join(self.expose_headers)})

    def _headers(self, headers: Mapping[str, str], more: dict[str, str]) -> list[tuple[str, str]]:
        """The headers of every response, and more; none if the origin is not allowed, or of one without a value."""
        origin = self._allowed_origin(headers)
        answer = {
            "access-control-allow-origin": origin,
            "access-control-allow-credentials": "true" if self.allow_credentials else "",
            "vary": "" if origin == "*" else "Origin",
            **more,
        }
        return [(name, value) for name, value in answer.items() if value and origin]

    def _allowed_origin(self, headers: Mapping[str, str]) -> str:
        """The Access-Control-Allow-Origin value; empty if not allowed. Browsers reject `*` with credentials."""
        origin = headers.get("origin", "")
        if "*" in self.allow_origins:
            return (origin if self.allow_credentials else "*") if origin else ""
        is_local = self.allow_local_origins and _LOCAL_ORIGIN.fullmatch(origin)
        return origin if is_local or origin in self.allow_origins else ""
