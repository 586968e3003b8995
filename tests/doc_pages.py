"""The pages for readers: their links, anchors, code blocks and commands, as a reader would find and copy them."""

import functools
import importlib.util
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from winterbourne.override import override

__all__ = [
    "GENERATED",
    "PAGES",
    "ROOT",
    "Block",
    "Command",
    "anchors",
    "blocks",
    "code_blocks",
    "commands",
    "inline_code",
    "links",
    "load_block",
    "read",
    "unreadable",
]

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
_PROJECT: Final = "layers/winterbourne/python/winterbourne/local/files/project/README.md"
_NAMES: Final = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "layers/winterbourne/README.md", _PROJECT)

PAGES: Final = [
    *(name for name in _NAMES if (ROOT / name).exists()),
    *sorted(str(path.relative_to(ROOT)) for path in DOCS.rglob("*.md")),
]
"""Every page, by its path from the root of the repository."""

GENERATED: Final = {f"docs/reference/{name}.md" for name in ("commands", "python-api", "settings")}
"""Pages that are written from the code: their blocks are signatures and synopses, which another test holds true."""

# How a span of code begins that is a command.
_SPAN: Final = re.compile(r"(?:[A-Z_]+=\S+ +)*(?:make|winterbourne|aws|npx|docker|\S*/bin/\S+) +\S.*", re.DOTALL)
_COMMENT: Final = re.compile(r"(?:^|\s+)# (.*)$")
_NEEDS: Final = re.compile(r"\bneeds (AWS|Docker)\b")


@dataclass(frozen=True)
class Block:
    """A fenced block of code. One that stands indented without a fence has the language `indented`."""

    page: str
    line: int
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command that a reader may type."""

    page: str
    line: int
    text: str
    """Without its comment, continued lines joined."""
    needs: str = ""
    """AWS or Docker, if it is marked so."""
    is_inline: bool = False

    @override
    def __str__(self) -> str:
        return f"{self.page}:{self.line} {self.text}"


def read(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """All blocks of code on a page."""
    found = (token for token in _parse(page) if token.type in {"fence", "code_block"})
    return [
        Block(page, _line(token), token.info.strip() if token.type == "fence" else "indented", token.content)
        for token in found
    ]


def inline_code(page: str) -> list[tuple[int, str]]:
    """Each span of code within a sentence or a table, with the line on which its paragraph begins."""
    return [
        (_line(token), child.content)
        for token in _parse(page)
        for child in token.children or ()
        if child.type == "code_inline"
    ]


def links(page: str) -> list[str]:
    """Where the links and images of a page lead."""
    children = [child for token in _parse(page) for child in token.children or ()]
    targets = (child.attrGet("href") or child.attrGet("src") for child in children)
    return [str(target) for target in targets if target]


def anchors(page: str) -> set[str]:
    """What a link may have after `#`: one name for each heading, made as GitHub makes them."""
    tokens = _parse(page)
    headings = [tokens[index + 1].content for index, token in enumerate(tokens) if token.type == "heading_open"]
    names = Counter(re.sub(r"\]\(.*?\)|[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return {name if number == 0 else f"{name}-{number}" for name, count in names.items() for number in range(count)}


def unreadable(page: str) -> list[str]:
    """What the tests of pages do not look into, HTML, and links whose target is named nowhere."""
    tokens = [each for token in _parse(page) for each in (token, *(token.children or ()))]
    html = [token.content for token in tokens if token.type in {"html_block", "html_inline"}]
    texts = (token.content for token in tokens if token.type == "text")
    return html + [text for text in texts if re.search(r"\]\[", text)]


def commands(page: str) -> list[Command]:
    """Every command on a page, in `sh` blocks and in sentences."""
    shell = [block for block in blocks(page) if block.language == "sh" and page not in GENERATED]
    found = [command for block in shell for command in _commands_of(block)]
    spans = ((line, text) for line, text in inline_code(page) if _SPAN.fullmatch(text))
    return found + [Command(page, line, text, is_inline=True) for line, text in spans]


def code_blocks(page: str) -> dict[str, str]:
    """The Python files on a page under docs, by the name that is in the first line of each."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^```python\n# ([\w/]+\.py)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def load_block(page: str, name: str, folder: Path) -> ModuleType:
    """Import one of these files, written to a folder."""
    path = folder / Path(name).name
    path.write_text(code_blocks(page)[name])
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def _parse(page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(read(page))


def _line(token: Token) -> int:
    return (token.map or [0])[0] + 1


def _commands_of(block: Block) -> Iterator[Command]:
    lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
    of_block = _needs(lines[0]) if lines[0].startswith("# ") else ""
    for line in lines:
        if text := _COMMENT.sub("", line).strip():
            yield Command(block.page, block.line, text, _needs(line) or of_block)


def _needs(line: str) -> str:
    comment = _COMMENT.search(line)
    marked = comment and _NEEDS.search(comment[1])
    return marked[1] if marked else ""
