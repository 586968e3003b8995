"""docs/reference/wire-formats.md: its paths are those of the formats, its refusals what the source can refuse."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from winterbourne.chat.errors import InvalidHistory, StorageError
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "layers/winterbourne/python/winterbourne/chat"
PAGE = (ROOT / "docs/reference/wire-formats.md").read_text(encoding="utf-8")

# Whose codes and statuses are chosen by a condition: no constants beside each other in the source.
COMPUTED = {
    (401, "unauthorized"),
    (403, "forbidden"),
    (413, "message_too_long"),
    (413, "too_many_messages"),
    (413, "too_many_images"),
    (413, "too_many_documents"),
    (413, "too_many_tools"),
    (413, "too_many_decisions"),
}


def raised() -> Iterator[tuple[int, str]]:
    """(status, code) of every error whose arguments are written as constants."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Name("RequestRejected"), args=[ast.Constant(int(status)), ast.Constant(str(code)), *_]
                ):
                    yield status, code
                case ast.Call(func=ast.Name("InvalidHistory"), args=[ast.Constant(str(code)), *_]):
                    yield InvalidHistory.status, code


def test_every_refusal_is_listed_with_its_status_and_no_other() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| (.*) \|$", PAGE.split("## Refusals", 1)[1].split("\n## ", 1)[0], re.MULTILINE)
    codes = [(statuses.split(", "), re.findall(r"`([a-z][a-z_0-9]+)`", cell)) for statuses, cell in rows]
    listed = {(int(status), code) for statuses, names in codes for status in statuses for code in names}
    of_storage = {(error.status, error.code) for error in StorageError.__subclasses__()}
    expected = COMPUTED | of_storage | set(raised())
    assert expected - listed == set()
    assert {code for _, code in listed} - {code for _, code in expected} == {"tool_choice", "allow"}


def test_every_path_of_a_format_is_listed() -> None:
    for module in (native, ai_sdk, ag_ui, openai):
        assert f"| `POST {module.FORMAT.path}`" in PAGE
