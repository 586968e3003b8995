"""Calls of one tool that arrive within one turn's window and become one call. Pure."""

from typing import Generic, TypeVar

__all__ = ["CallBatch"]

J = TypeVar("J")


class CallBatch(Generic[J]):
    """Jobs in the order they came, until the window closes."""

    def __init__(self, first: J) -> None:
        self.calls = [first]
        self.is_open = True

    def add(self, call: J) -> int:
        """Take a job along; its result will have this position."""
        self.calls.append(call)
        return len(self.calls) - 1

    def close(self) -> list[J]:
        """No further job; the ones it has."""
        self.is_open = False
        return self.calls
