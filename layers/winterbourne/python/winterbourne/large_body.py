"""The body of a large request: long runs of base64 stay beside its text, in the pieces in which they arrived. Pure.

So a document is not copied to be unescaped, decoded, parsed, kept and sent, and one `é` or emoji beside it does not
make Python hold it two or four times as wide.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final, TypeAlias

__all__ = ["MIN_RUN_BYTES", "LargeBody"]

MIN_RUN_BYTES: Final = 64 * 1024
"""How long a run has to be to be taken out: less is as quickly copied."""

_MARK: Final = f"large-{os.urandom(16).hex()}-"  # nobody can write it into a request
_MARKS: Final = re.compile(rf"{_MARK}(\d+);")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=]{64,}")
_ESCAPE_BYTES: Final = 16  # more than can follow of an escaped escape sequence that is cut where a piece begins

_Piece: TypeAlias = bytes | bytearray | str


@dataclass(slots=True)
class LargeBody:
    """JSON text, and what was taken out of it.

    Attributes:
        text: UTF-8, with a mark in the place of each run.
        runs: The runs by the numbers in the marks, each in pieces of ASCII.
    """

    text: bytes = b""
    runs: list[list[_Piece]] = field(default_factory=list)

    @classmethod
    def take_out(cls, pieces: Iterable[bytes | bytearray]) -> "LargeBody":
        """The text that consists of these pieces: those that are base64 alone, and many of them, are taken out."""
        body, text = cls(), bytearray()
        for is_base64, group in groupby(pieces, lambda piece: bool(_BASE64.fullmatch(piece))):
            run = list(group)
            if is_base64 and sum(map(len, run)) >= MIN_RUN_BYTES:
                text += run[0][:_ESCAPE_BYTES] + body.mark([run[0][_ESCAPE_BYTES:], *run[1:]]).encode()
            else:
                text += b"".join(run)
        body.text = bytes(text)
        return body

    def mark(self, run: list[_Piece]) -> str:
        """Keep one more run; return the mark that is to stand in its place."""
        self.runs.append(run)
        return f"{_MARK}{len(self.runs) - 1};"

    def has_all_marks(self, text: str) -> bool:
        """Whether every mark is in a text that was parsed from this."""
        return len(_MARKS.findall(text)) == len(self.runs)

    def pieces(self, size: int = MIN_RUN_BYTES) -> Iterator[bytes]:
        """The text with its runs, in pieces of at most `size` bytes."""
        for at, part in enumerate(re.split(_MARKS.pattern.encode(), self.text)):
            for piece in self.runs[int(part)] if at % 2 else [part]:
                for start in range(0, len(piece), size):
                    cut = piece[start : start + size]
                    yield cut.encode() if isinstance(cut, str) else bytes(cut)

    def fill(self, text: str) -> str:
        """A text that was parsed from this, with the runs in the places of its marks; they are then gone from here."""
        return "".join(self._parts(text))

    def _parts(self, text: str) -> Iterator[str]:
        for at, part in enumerate(_MARKS.split(text)):
            run = self.runs[int(part)][::-1] if at % 2 else [part]
            if at % 2:
                self.runs[int(part)].clear()
            while run:
                piece = run.pop()
                yield piece if isinstance(piece, str) else piece.decode()

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
