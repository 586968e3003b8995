"""docs/how-to/write-a-tool.md: its tools are valid, and its table has every option there is."""

import re
from typing import Any

from tests.doc_pages import blocks, read
from winterbourne.chat.tool_runtime.declaration import Tool, ToolOptions

PAGE = "docs/how-to/write-a-tool.md"


def test_its_examples_are_valid_tools() -> None:
    code, keys, _, asks, isolated = (block.text for block in blocks(PAGE) if block.language == "python")
    module: dict[str, Any] = {"__name__": "example", "Order": dict[str, str], "Any": Any}
    exec(code + keys + asks + isolated, module)
    tide, order, pay, manifest = (value for value in module.values() if isinstance(value, Tool))
    assert tide.schema.parameters["required"] == ["harbour"]
    assert tide.description == "The height of the tide in a harbour."
    assert order.options.keys == ("SHOP_API_KEY",)
    assert not pay.options.is_eager
    assert manifest.options.isolation == "process"


def test_its_table_has_every_option() -> None:
    cells = re.findall(r"^\| (`.*?) \|", read(PAGE), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == {*ToolOptions.__struct_fields__, "batch"}
