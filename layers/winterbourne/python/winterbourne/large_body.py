"""The body of a large request: long runs of base64 stay beside its text, in the pieces in which they arrived. Pure.

So a document is not copied to be unescaped, decoded and parsed, and one `é` or emoji beside it does not make Python
hold it two or four times as wide.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

__all__ = ["MIN_RUN_BYTES", "LargeBody"]

MIN_RUN_BYTES: Final = 64 * 1024
"""How long a run has to be to be taken out."""

_MARK: Final = f"large-{os.urandom(16).hex()}-"  # nobody can write it into a request
_MARKS: Final = re.compile(rf"{_MARK}(\d+);")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=]{64,}")
_ESCAPE_BYTES: Final = 8  # more than can follow of an escape sequence that is cut where a piece begins


@dataclass(frozen=True, slots=True)
class LargeBody:
    """JSON text, and what was taken out of it.

    Attributes:
        text: UTF-8, with a mark in the place of each run.
        runs: The runs by the numbers in the marks, each in pieces.
    """

    text: bytes
    runs: list[list[bytes | bytearray]]

    @classmethod
    def take_out(cls, pieces: Iterable[bytes | bytearray]) -> "LargeBody":
        """The text that consists of these pieces: those that are base64 alone, and many of them, are taken out."""
        text, runs = bytearray(), list[list[bytes | bytearray]]()
        for is_base64, group in groupby(pieces, lambda piece: bool(_BASE64.fullmatch(piece))):
            run = list(group)
            if is_base64 and sum(map(len, run)) >= MIN_RUN_BYTES:
                text += run[0][:_ESCAPE_BYTES] + f"{_MARK}{len(runs)};".encode()
                run[0] = run[0][_ESCAPE_BYTES:]
                runs.append(run)
            else:
                text += b"".join(run)
        return cls(bytes(text), runs)

    @property
    def size(self) -> int:
        """How many bytes it has as a whole; marks count, too."""
        return len(self.text) + sum(len(piece) for run in self.runs for piece in run)

    def whole(self) -> bytes:
        """The text as it was; its runs are then gone from here."""
        return self.fill(self.text.decode("latin-1")).encode("latin-1") if self.runs else self.text

    def has_all_marks(self, text: str) -> bool:
        """Whether every mark is in a text that was parsed from this."""
        return len(_MARKS.findall(text)) == len(self.runs)

    def fill(self, text: str) -> str:
        """A text that was parsed from this, with the runs in the places of its marks; they are then gone from here."""
        filled, *rest = _MARKS.split(text)
        for number, after in zip(rest[::2], rest[1::2], strict=True):
            pieces = self.runs[int(number)]
            pieces.reverse()
            while pieces:
                filled += pieces.pop().decode()  # grows in its place
            filled += after
        return filled

    def fill_in(self, value: Any) -> None:
        """Fill the texts of a list or an object that was parsed from this, and of all that is in it.

        Raises:
            ValueError: The name of a field is so long that it was taken out.
        """
        if isinstance(value, dict) and any(map(_MARKS.search, value)):
            raise ValueError("the name of a field is too long")
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(child, str):
                value[key] = self.fill(child)
            elif isinstance(child, dict | list):
                self.fill_in(child)
