"""Docstring parser: extracts what a model reads, the description and a sentence for each parameter.

Understands the sections of Google (`Args:`), NumPy (`Parameters` underlined) and Sphinx (`:param name:`). Pure; accepts
any text and does not look at signatures.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Final

import msgspec

__all__ = ["Docstring", "parse"]

_SECTION_HEADING: Final = re.compile(
    r"(?:Args|Arguments|Parameters|Params|Returns|Return|Raises|Yields|Yield|Example|Examples|Note|Notes|Warns"
    r"|See Also|References|Attributes|Cancellation)"
)
_PARAMETER_SECTIONS: Final = frozenset({"Args", "Arguments", "Parameters", "Params"})
_UNDERLINE: Final = re.compile(r"-{3,}\s*")
_GOOGLE_ITEM: Final = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_NUMPY_ITEM: Final = re.compile(r"\*{0,2}(\w+)\s*(?::.*)?")
_SPHINX_FIELD: Final = re.compile(r":(\w+)(?:\s+[^:]*?(\w+))?\s*:\s*(.*)")


class Docstring(msgspec.Struct, frozen=True):
    """A parsed docstring: the text before its sections, and the descriptions of its parameters by name."""

    description: str
    parameters: dict[str, str]


def parse(text: str) -> Docstring:
    """Parse a docstring. Lines of one paragraph are joined; all sections except the parameters are dropped."""
    description: list[str] = []
    parameters: dict[str, str] = {}
    for section, lines in _split_sections(inspect.cleandoc(text).splitlines()):
        if not section:
            description += lines
        elif section in _PARAMETER_SECTIONS:
            parameters |= _parse_numpy(lines[1:]) if lines and _UNDERLINE.fullmatch(lines[0]) else _parse_google(lines)
        elif section == "param":
            parameters |= _parse_sphinx(lines)
    return Docstring(_join_paragraphs(description), parameters)


def _split_sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Split at headings into pairs of heading (empty for the text before the first one) and lines."""
    heading, section_lines = "", list[str]()
    for number, line in enumerate(lines):
        next_line = lines[number + 1] if number + 1 < len(lines) else ""
        if next_heading := _match_heading(line, next_line):
            yield heading, section_lines
            heading, section_lines = next_heading, [line] if next_heading in {"param", "field"} else []
        else:
            section_lines.append(line)
    yield heading, section_lines


def _match_heading(line: str, next_line: str) -> str:
    """The heading of the section that begins on this line, or an empty string."""
    if match := _SPHINX_FIELD.fullmatch(line):
        return "param" if match[1] in {"param", "parameter", "arg", "argument"} else "field"
    title = line.rstrip().removesuffix(":")
    is_heading = line.rstrip().endswith(":") or bool(_UNDERLINE.fullmatch(next_line))
    return title if is_heading and _SECTION_HEADING.fullmatch(title) else ""


def _parse_google(lines: list[str]) -> dict[str, str]:
    """`name (type): text`, with continuation lines indented below it."""
    return _parse_items(inspect.cleandoc("\n".join(["", *lines])).splitlines(), _GOOGLE_ITEM)


def _parse_numpy(lines: list[str]) -> dict[str, str]:
    """`name : type`, with the text indented below it."""
    return _parse_items(lines, _NUMPY_ITEM)


def _parse_sphinx(lines: list[str]) -> dict[str, str]:
    """`:param type name: text`, with continuation lines below it."""
    match = _SPHINX_FIELD.fullmatch(lines[0])
    return {match[2]: _join_paragraphs([match[3], *lines[1:]])} if match and match[2] else {}


def _parse_items(lines: list[str], pattern: re.Pattern[str]) -> dict[str, str]:
    items: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        match = None if line.startswith((" ", "\t")) else pattern.fullmatch(line)
        if match:
            current = items.setdefault(match[1], [])
            current += match.groups()[1:]
        else:
            current.append(line)
    return {name: _join_paragraphs(text) for name, text in items.items()}


def _join_paragraphs(lines: list[str]) -> str:
    """Join the lines of each paragraph; paragraphs stay separate."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(line.strip() for line in lines).strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
