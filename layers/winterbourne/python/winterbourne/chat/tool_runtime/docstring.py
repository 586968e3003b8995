"""Docstring parser: extracts what a model reads, the description and a sentence for each parameter.

Understands Google's sections (`Args:`). Pure; accepts any text and does not look at signatures.
https://google.github.io/styleguide/pyguide.html#383-functions-and-methods
"""

import inspect
import re
from typing import Final

import msgspec

__all__ = ["Docstring", "parse"]

_SECTION_HEADING: Final = re.compile(
    r"(Args|Arguments|Parameters|Params|Returns|Return|Raises|Yields|Yield|Example|Examples|Note|Notes|Warns"
    r"|See Also|References|Attributes|Cancellation):\s*"
)
_PARAMETER_SECTIONS: Final = frozenset({"Args", "Arguments", "Parameters", "Params"})
_PARAMETER: Final = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")


class Docstring(msgspec.Struct, frozen=True):
    """A parsed docstring: the text before its sections, and the descriptions of its parameters by name."""

    description: str
    parameters: dict[str, str]


def parse(text: str) -> Docstring:
    """Parse a docstring. Lines of one paragraph are joined; all sections except the parameters are dropped."""
    sections: dict[str, list[str]] = {"": []}
    lines = sections[""]
    for line in inspect.cleandoc(text).splitlines():
        if heading := _SECTION_HEADING.fullmatch(line):
            lines = sections.setdefault("Args" if heading[1] in _PARAMETER_SECTIONS else heading[1], [])
        else:
            lines.append(line)
    return Docstring(_join_paragraphs(sections[""]), _parse_parameters(sections.get("Args", [])))


def _parse_parameters(lines: list[str]) -> dict[str, str]:
    """`name (type): text`, with continuation lines indented below it."""
    parameters: dict[str, list[str]] = {}
    current: list[str] = []
    for line in inspect.cleandoc("\n".join(["", *lines])).splitlines():
        if match := _PARAMETER.fullmatch(line):
            current = parameters.setdefault(match[1], [])
            current.append(match[2])
        else:
            current.append(line)
    return {name: _join_paragraphs(text) for name, text in parameters.items()}


def _join_paragraphs(lines: list[str]) -> str:
    """Join the lines of each paragraph; paragraphs stay separate."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(line.strip() for line in lines).strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
