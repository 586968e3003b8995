"""Builds requests with the headers that authentication reads."""

from winterbourne.chat.http.request import Request

__all__ = ["request"]


def request(**headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method="GET", raw_path="/", headers=named)
