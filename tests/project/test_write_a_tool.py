"""docs/how-to/write-a-tool.md: its tools are valid, and its table has every option there is."""

import re
from typing import Any, Literal

from tests.chat.stores import aws
from tests.doc_pages import blocks, read
from winterbourne.chat.tool_runtime.declaration import Tool, ToolOptions

PAGE = "docs/how-to/write-a-tool.md"


def test_its_examples_are_valid_tools() -> None:
    code, berths, chart, keys, _, asks, isolated = (block.text for block in blocks(PAGE) if block.language == "python")
    module: dict[str, Any] = {"__name__": "example", "Order": dict[str, str], "Any": Any, "Literal": Literal}
    exec(code + berths + chart + keys + asks + isolated, module)
    tide, count, link, order, pay, manifest = (value for value in module.values() if isinstance(value, Tool))
    assert tide.schema.parameters["required"] == ["harbour"]
    assert tide.description == "The height of the tide in a harbour."
    assert count.blocking
    assert not link.blocking
    assert order.options.keys == ("SHOP_API_KEY",)
    assert not pay.options.is_eager
    assert manifest.options.isolation == "process"


async def test_its_tool_with_boto3_reads_a_table() -> None:
    module: dict[str, Any] = {"tool": lambda function: function}
    exec(next(block.text for block in blocks(PAGE) if "boto3" in block.text), module)
    with aws() as client:
        harbour = {"AttributeName": "harbour", "AttributeType": "S", "KeyType": "HASH"}
        definition = {name: harbour[name] for name in ("AttributeName", "AttributeType")}
        key = {name: harbour[name] for name in ("AttributeName", "KeyType")}
        client("dynamodb").create_table(
            TableName="berths", AttributeDefinitions=[definition], KeySchema=[key], BillingMode="PAY_PER_REQUEST"
        )
        client("dynamodb").put_item(TableName="berths", Item={"harbour": {"S": "Whitby"}, "berths": {"N": "12"}})
        assert module["count_berths"]("Whitby") == 12


def test_its_table_has_every_option() -> None:
    cells = re.findall(r"^\| (`.*?) \|", read(PAGE), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == {*ToolOptions.__struct_fields__, "batch"}
