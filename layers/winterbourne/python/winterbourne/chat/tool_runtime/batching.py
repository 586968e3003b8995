"""Batching: calls of one tool that arrive within a time window of one turn become one call. Pure."""

from typing import Generic, TypeVar

__all__ = ["CallBatch"]

C = TypeVar("C")


class CallBatch(Generic[C]):
    """Calls in order of arrival, until the window closes."""

    def __init__(self, first: C) -> None:
        self.calls = [first]
        self.is_open = True

    def add(self, call: C) -> int:
        """Add a call and return its index; its result will have the same one."""
        self.calls.append(call)
        return len(self.calls) - 1

    def close(self) -> list[C]:
        """Accept no more calls; return those it has."""
        self.is_open = False
        return self.calls
