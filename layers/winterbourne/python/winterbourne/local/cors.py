"""CORS as a function URL does it: preflight responses and response headers. Pure.

If CORS is configured, the URL answers preflights itself with the configured values, and the function never sees them.
To every other response it adds its headers to those of the function. A function that sets them as well sends
duplicates, which browsers reject; that should show here and not after deploying.
https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html#urls-cors
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Cors"]


@dataclass(frozen=True, kw_only=True)
class Cors:
    """A function URL's `Cors` property; `max_age` in seconds."""

    allow_origins: tuple[str, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age: int | None = None

    @property
    def is_configured(self) -> bool:
        """Whether CORS is configured; if not, preflights go to the function like any other request."""
        return self != Cors()

    def handles_preflight(self, method: str, headers: Mapping[str, str]) -> bool:
        """Whether a request is a preflight that the URL answers itself. Header names are in lower case."""
        is_preflight = method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers
        return self.is_configured and is_preflight

    def preflight_headers(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """The headers of a preflight response; none if the origin or the method is not allowed."""
        requested = headers.get("access-control-request-method", "")
        if not self._allowed_origin(headers) or not ({requested, "*"} & set(self.allow_methods)):
            return []
        answer = [
            *self._common_headers(headers),
            ("access-control-allow-methods", ",".join(self.allow_methods)),
            ("access-control-allow-headers", ",".join(self.allow_headers)),
            ("access-control-max-age", "" if self.max_age is None else str(self.max_age)),
        ]
        return [(name, value) for name, value in answer if value]

    def response_headers(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """The headers to add to the function's response to a request with these headers."""
        if not self._allowed_origin(headers):
            return []
        exposed = [("access-control-expose-headers", ",".join(self.expose_headers))] if self.expose_headers else []
        return [*self._common_headers(headers), *exposed]

    def _common_headers(self, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        answer = [("access-control-allow-origin", self._allowed_origin(headers))]
        if self.allow_credentials:
            answer.append(("access-control-allow-credentials", "true"))
        if self._allowed_origin(headers) != "*":
            answer.append(("vary", "Origin"))
        return answer

    def _allowed_origin(self, headers: Mapping[str, str]) -> str:
        """The Access-Control-Allow-Origin value; empty if not allowed. Browsers reject `*` with credentials."""
        origin = headers.get("origin", "")
        if "*" in self.allow_origins:
            return (origin if self.allow_credentials else "*") if origin else ""
        return origin if origin in self.allow_origins else ""
