"""Signed tokens (JWT) of a made-up issuer: nobody has its private key any more, and they are valid until 2100."""

import json
from pathlib import Path
from typing import Final

__all__ = ["FILE", "NAMES", "token"]

FILE: Final = Path(__file__).parents[1] / "tokens.json"
"""The keys the issuer publishes, and its tokens by what is right or wrong with each."""

_TOKENS: Final[dict[str, str]] = json.loads(FILE.read_text("utf-8"))["tokens"]
NAMES: Final = tuple(_TOKENS)


def token(name: str) -> str:
    """A token by its name."""
    return _TOKENS[name]
