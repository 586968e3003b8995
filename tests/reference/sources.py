"""The package `winterbourne` as its source has it: signatures as they are written, docstrings by their sections."""

import functools
from typing import Final

import griffe

from tests.stack import ROOT

__all__ = ["ENGINE", "load"]

ENGINE: Final = ROOT / "layers/winterbourne/python"

# A description of what is returned is one text, without a name.
OPTIONS: Final[griffe.GoogleOptions] = {
    "returns_multiple_items": False,
    "returns_named_value": False,
    "warn_unknown_params": False,
    "warn_missing_types": False,
    "warnings": False,
}


@functools.cache
def load() -> griffe.Module:
    """Read the source; nothing is imported, so that it is the same under every Python."""
    package = griffe.load(
        "winterbourne",
        search_paths=[ENGINE],
        allow_inspection=False,
        docstring_parser="google",
        docstring_options=OPTIONS,
    )
    assert isinstance(package, griffe.Module)
    return package
