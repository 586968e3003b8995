"""Builds requests with the headers that authentication reads."""

from winterbourne.chat.http.request import Request

__all__ = ["request"]


def request(**headers: str) -> Request:
    return Request.from_event({"headers": {name.replace("_", "-"): value for name, value in headers.items()}})
