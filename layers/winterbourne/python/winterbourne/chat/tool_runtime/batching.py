"""Calls of one tool that arrive within one turn's window and become one call. Pure."""

from typing import Generic, TypeVar

__all__ = ["Batch"]

J = TypeVar("J")


class Batch(Generic[J]):
    """Jobs in the order they came, until the window closes."""

    def __init__(self, first: J) -> None:
        self.jobs = [first]
        self.open = True

    def add(self, job: J) -> int:
        """Take a job along; its result will have this position."""
        self.jobs.append(job)
        return len(self.jobs) - 1

    def close(self) -> list[J]:
        """No further job; the ones it has."""
        self.open = False
        return self.jobs
