"""The README: its example, tables, commands and links are correct."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.chat.processes import run
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.declaration import Tool, ToolOptions

ROOT = Path(__file__).parents[2]
CHOICE = {"AUTH": "none", "MODEL_PROVIDER": "scripted"}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def python(title: str) -> list[str]:
    """The Python of a section."""
    return re.findall(r"```python\n(.*?)```", section(title), re.DOTALL)


def test_its_example_is_a_valid_tool() -> None:
    code, keys, batch = python("Write a tool")
    compile(batch, "README.md", "exec")
    module: dict[str, Any] = {"__name__": "example", "Order": dict[str, str]}
    exec(code + keys, module)
    tide, order = (value for value in module.values() if isinstance(value, Tool))
    assert tide.schema.parameters["required"] == ["harbour"]
    assert tide.description == "The height of the tide in a harbour."
    assert order.options.keys == ("SHOP_API_KEY",)


def test_its_chat_starts() -> None:
    (code,) = python("A chat of your own")
    output = run(
        f"__file__ = {str(ROOT / 'functions/chat/app.py')!r}\n{code}\nprint(chat.settings.stream.max_turns)", **CHOICE
    )
    assert output.endswith("6")


def test_its_tool_options_are_all_that_exist() -> None:
    cells = re.findall(r"^\| (`.*?) \|", section("Write a tool"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == {*ToolOptions.__struct_fields__, "batch"}


@pytest.mark.parametrize("row", re.findall(r"^\| (`[A-Z].*?) \| (.*?) \|", section("Settings"), re.MULTILINE), ids=str)
def test_a_setting_has_the_documented_default(row: tuple[str, str]) -> None:
    names, defaults = re.findall(r"`(\w+)`", row[0]), row[1].replace("`", "").split(", ")
    for index, name in enumerate(names):
        documented, actual = defaults[min(index, len(defaults) - 1)], Settings().values()[name]
        if documented not in {"none", "per provider", "the vendor's"}:
            assert documented == (f"{actual:g}" if isinstance(actual, float) else str(actual).lower())
        elif documented == "none":
            assert actual == ""


def test_every_target_it_names_is_in_the_makefile() -> None:
    makefiles = "".join((ROOT / name).read_text() for name in ("Makefile", "development.mk"))
    targets = set(re.findall(r"^([a-z-]+):.*##", makefiles, re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", section("Commands")))
    assert named <= targets
    assert targets - {"format", "clean", "help"} <= named


def test_every_path_of_a_format_is_named() -> None:
    for module in (native, ai_sdk, ag_ui, openai):
        assert f"`POST {module.FORMAT.path}`" in section("Connect a frontend")


def test_every_file_it_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http|#)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
