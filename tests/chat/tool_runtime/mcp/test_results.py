"""Results of MCP tools: text and structured content for the model, one line for anything else, never base64."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.conversations import json_values
from winterbourne.chat.errors import ToolError
from winterbourne.chat.tool_runtime.mcp.results import tool_result

BASE64 = "iVBORw0K" * 4000
SEA = {"type": "text", "text": "a grey sea"}
IMAGE = {"type": "image", "mimeType": "image/png", "data": BASE64}


def shown(*parts: Any) -> Any:
    return tool_result({"content": list(parts)})


@pytest.mark.parametrize(
    ("part", "line"),
    [
        (IMAGE, "[an image, image/png, 23 KB]"),
        ({"type": "image", "data": BASE64}, "[an image, 23 KB]"),
        ({"type": "image", "data": 5, "mimeType": []}, "[an image]"),
        ({"type": "image"}, "[an image]"),
        ({"type": "audio", "mimeType": "audio/wav", "data": "UklG"}, "[audio, audio/wav, 1 KB]"),
        (
            {"type": "resource", "resource": {"uri": "x://y", "mimeType": "application/pdf", "blob": BASE64}},
            "[a file, x://y, application/pdf, 23 KB]",
        ),
        ({"type": "resource", "resource": {"uri": "x://y", "text": "a log book"}}, "a log book"),
        ({"type": "resource", "resource": {"text": 5}}, "[a file]"),
        ({"type": "resource", "resource": None}, "[a file]"),
        ({"type": "resource_link", "name": "chart", "uri": "x://chart"}, "[a link, chart, x://chart]"),
        (
            {"type": "resource_link", "name": "chart", "uri": f"data:image/png;base64,{BASE64}"},
            "[a link, chart, data:image/png;base64]",
        ),
        ({"type": "resource_link", "name": "two\nlines", "uri": "x" * 5000}, f"[a link, two lines, {'x' * 200}]"),
        ({"type": "video", "data": BASE64}, "[content that cannot be shown, video]"),
        ({"type": "text", "text": None}, "[content that cannot be shown, text]"),
        ({"type": ["text"], "text": "x"}, "[content that cannot be shown, ['text']]"),
        ({}, "[content that cannot be shown, None]"),
        (5, "[content that cannot be shown, None]"),
        ("plain", "plain"),
    ],
)
def test_each_kind_of_content_has_its_line(part: Any, line: str) -> None:
    assert shown(part) == line
    assert shown(SEA, part, SEA) == f"a grey sea\n{line}\na grey sea"


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, ""), ([], ""), ("plain", "plain"), (SEA, "a grey sea"), ([SEA, SEA], "a grey sea\na grey sea")],
)
def test_content_of_another_shape_is_read(content: Any, text: str) -> None:
    assert tool_result({"content": content}) == text


@pytest.mark.parametrize("structured", [{"height": 3}, {}, [1], "text", 0])
def test_structured_content_comes_without_its_copy_as_text(structured: Any) -> None:
    assert tool_result({"content": [SEA], "structuredContent": structured}) == structured
    assert tool_result({"structuredContent": structured}) == structured


def test_structured_content_does_not_hide_an_image() -> None:
    result = tool_result({"content": [SEA, IMAGE], "structuredContent": {"height": 3}})
    assert result == {"structuredContent": {"height": 3}, "content": ["[an image, image/png, 23 KB]"]}


def test_no_structured_content_is_not_a_result() -> None:
    assert tool_result({"content": [SEA], "structuredContent": None}) == "a grey sea"


@pytest.mark.parametrize(
    ("content", "reason"),
    [([SEA], "a grey sea"), ([IMAGE], r"\[an image, image/png, 23 KB\]"), ([], "gave no reason"), (None, "no reason")],
)
def test_the_error_of_a_tool_is_told_in_its_words(content: Any, reason: str) -> None:
    with pytest.raises(ToolError, match=reason):
        tool_result({"content": content, "isError": True, "structuredContent": {"height": 3}})


@given(json_values | st.lists(json_values), json_values)
def test_any_content_has_a_result_or_an_error(content: Any, is_error: Any) -> None:
    if is_error:
        with pytest.raises(ToolError, match=r"(?s)."):
            tool_result({"content": content, "isError": is_error})
    else:
        assert isinstance(tool_result({"content": content, "isError": is_error}), str)


@given(json_values)
def test_data_is_never_shown(value: Any) -> None:
    for part in (IMAGE, {"type": "resource", "resource": {"blob": BASE64, "mimeType": value, "uri": value}}):
        assert "iVBORw0K" not in orjson.dumps(shown(part)).decode()
