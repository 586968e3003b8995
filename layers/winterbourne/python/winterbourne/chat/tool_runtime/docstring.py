"""Docstring → what a model reads: the description, and a sentence for each parameter.

Understands the sections of Google (`Args:`), NumPy (`Parameters` underlined) and Sphinx (`:param name:`). Pure; any
text gives some result. Knows nothing of signatures.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["Docstring", "read"]

_SECTION: Final = re.compile(
    r"(?:Args|Arguments|Parameters|Params|Returns|Return|Raises|Yields|Yield|Example|Examples|Note|Notes|Warns"
    r"|See Also|References|Attributes|Cancellation)"
)
_PARAMETERS: Final = frozenset({"Args", "Arguments", "Parameters", "Params"})
_UNDERLINE: Final = re.compile(r"-{3,}\s*")
_GOOGLE: Final = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
_NUMPY: Final = re.compile(r"\*{0,2}(\w+)\s*(?::.*)?")
_SPHINX: Final = re.compile(r":(\w+)(?:\s+[^:]*?(\w+))?\s*:\s*(.*)")


class Docstring(NamedTuple):
    """What a docstring says: the text before its sections, and its parameters by name."""

    description: str
    parameters: dict[str, str]


def read(text: str) -> Docstring:
    """Take a docstring apart. Lines of one paragraph are joined; other sections than the parameters' are dropped."""
    description: list[str] = []
    parameters: dict[str, str] = {}
    for section, lines in _sections(inspect.cleandoc(text).splitlines()):
        if not section:
            description += lines
        elif section in _PARAMETERS:
            parameters |= _numpy(lines[1:]) if lines and _UNDERLINE.fullmatch(lines[0]) else _google(lines)
        elif section == "param":
            parameters |= _sphinx(lines)
    return Docstring(_joined(description), parameters)


# Private functions


def _sections(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Cut where a heading stands: (heading or empty, lines)."""
    heading, held = "", list[str]()
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if found := _heading(line, following):
            yield heading, held
            heading, held = found, [line] if found in {"param", "field"} else []
        else:
            held.append(line)
    yield heading, held


def _heading(line: str, following: str) -> str:
    """The section that begins here, or nothing."""
    if match := _SPHINX.fullmatch(line):
        return "param" if match[1] in {"param", "parameter", "arg", "argument"} else "field"
    title = line.rstrip().removesuffix(":")
    starts = line.rstrip().endswith(":") or bool(_UNDERLINE.fullmatch(following))
    return title if starts and _SECTION.fullmatch(title) else ""


def _google(lines: list[str]) -> dict[str, str]:
    """`name (type): text`, with more lines of the text indented below it."""
    return _items(inspect.cleandoc("\n".join(["", *lines])).splitlines(), _GOOGLE)


def _numpy(lines: list[str]) -> dict[str, str]:
    """`name : type`, with the text indented below it."""
    return _items(lines, _NUMPY)


def _sphinx(lines: list[str]) -> dict[str, str]:
    """`:param type name: text`, with more lines of the text below it."""
    match = _SPHINX.fullmatch(lines[0])
    return {match[2]: _joined([match[3], *lines[1:]])} if match and match[2] else {}


def _items(lines: list[str], pattern: re.Pattern[str]) -> dict[str, str]:
    items: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        match = None if line.startswith((" ", "\t")) else pattern.fullmatch(line)
        if match:
            current = items.setdefault(match[1], [])
            current += match.groups()[1:]
        else:
            current.append(line)
    return {name: _joined(text) for name, text in items.items()}


def _joined(lines: list[str]) -> str:
    """Paragraphs stay apart; the lines of one become one."""
    paragraphs = re.split(r"\n\s*\n", "\n".join(line.strip() for line in lines).strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
