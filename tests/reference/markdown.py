"""Markdown of the reference's pages."""

import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

__all__ = ["anchor", "definitions", "fill", "format_code", "prose", "table", "template"]

TEMPLATES: Final = Path(__file__).with_name("templates")
WIDTH: Final = 100
_PARAGRAPH: Final = re.compile(r"\s*\n\s*")


def template(name: str) -> str:
    """The text of a page that is written by hand."""
    return (TEMPLATES / name).read_text("utf-8")


def fill(name: str, **parts: str) -> str:
    """A page: its text, which is written by hand, with what is made from the code in the place of `<!-- name -->`."""
    text = template(name)
    for placeholder, part in parts.items():
        assert f"<!-- {placeholder} -->" in text, placeholder
        text = text.replace(f"<!-- {placeholder} -->", part)
    return text


def anchor(heading: str) -> str:
    """The link that a forge gives to a heading."""
    return "#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar in a cell is escaped."""
    lines = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def definitions(entries: Iterable[tuple[str, str]]) -> str:
    """A list of names, each with what is said of it."""
    return "\n".join(f"- `{name}`: {prose(text)}" for name, text in entries)


def prose(text: str) -> str:
    """The text of a docstring with each paragraph in one line; code that is indented stays as it is."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(each if each.startswith("    ") else _PARAGRAPH.sub(" ", each) for each in paragraphs)


def format_code(signatures: Sequence[str]) -> list[str]:
    """Signatures of functions, `def f(x: int) -> int`, in the project's own format."""
    separator = "# -----"
    source = f"\n{separator}\n".join(f"{signature}: ...\n" for signature in signatures)
    command = [sys.executable, "-m", "ruff", "format", "--isolated", f"--line-length={WIDTH}", "--target-version=py311"]
    done = subprocess.run([*command, "-"], input=source, capture_output=True, text=True, check=True)
    return [each.strip().removesuffix(": ...") for each in done.stdout.split(separator)]
