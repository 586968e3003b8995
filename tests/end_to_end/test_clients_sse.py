"""Plain readers of server-sent events on the native format: httpx-sse for Python, eventsource-parser for Node."""

import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from tests import npm

pytestmark = pytest.mark.slow


def ask(url: str, text: str, stop_after: int = 0) -> list[Any]:
    """The frames of one answer; with `stop_after`, a stop is requested after that many."""
    conversation = f"c_{uuid.uuid4().hex}"
    body = {"conversation_id": conversation, "messages": [{"role": "user", "content": text}]}
    frames: list[Any] = []
    with httpx.Client(base_url=url, timeout=30) as client, connect_sse(client, "POST", "/chat", json=body) as source:
        for event in source.iter_sse():
            frames.append(event.json())
            if len(frames) == stop_after:
                assert httpx.post(f"{url}/chat/{conversation}/stop", timeout=30).status_code == 202
    return frames


def parse_in_node(url: str, text: str) -> list[Any]:
    """The frames of one answer, as eventsource-parser reads them."""
    frames: list[Any] = npm.run("native.mjs", url, text)
    return frames


@pytest.mark.parametrize("read", [ask, parse_in_node])
def test_five_tools_are_seen_to_start_and_to_end(chat: str, read: Callable[[str, str], list[Any]]) -> None:
    frames = read(chat, "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD")
    statuses = [frame["status"] for frame in frames if frame["type"] == "tool_call"]
    assert sorted(statuses) == ["completed"] * 5 + ["started"] * 5
    assert frames[0]["type"] == "start"
    assert frames[-1]["type"] == "done"


def test_a_failure_is_the_last_frame(chat: str) -> None:
    frames = ask(chat, "fail halfway")
    assert (frames[-1]["type"], frames[-1]["code"]) == ("error", "model_busy")
    assert frames[-1]["request_id"]
    assert "content" in {frame["type"] for frame in frames}


def test_a_stop_is_the_last_frame(chat: str) -> None:
    frames = ask(chat, "count to 2000", stop_after=3)
    assert frames[-1] == {"type": "stopped", "reason": "user"}
    assert len(frames) < 2000


@pytest.mark.parametrize("path", ["/chat", "/api/chat", "/agui", "/v1/chat/completions"])
@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_json"),
        (b"[]", "application/json", 400, "invalid_json"),
        (b'{"messages":[]}', "application/json", 400, "no_messages"),
        (b'{"messages":"\xff"}', "application/json", 400, "invalid_utf8"),
        (b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}", "application/json", 400, "json_too_deep"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b'{"a":"%b"}' % (b"x" * 1024 * 1024), "application/json", 413, "body_too_large"),
    ],
)
def test_bad_input_is_rejected_in_the_formats_own_error_shape(
    chat: str, path: str, content: bytes, content_type: str, status: int, code: str
) -> None:
    response = httpx.post(f"{chat}{path}", content=content, headers={"content-type": content_type}, timeout=30)
    assert response.status_code == status
    assert response.headers["x-error-code"] == code
    assert response.headers["x-content-type-options"] == "nosniff"
    if path in {"/api/chat", "/agui"}:  # whose clients show the body as it is
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert "{" not in response.text
        return
    error = response.json()["error"]
    assert (error["code"], error["request_id"]) == (code, response.headers["x-request-id"])
    shape = {"code", "message", "request_id"}
    assert set(error) == (shape | {"type", "param"} if "v1" in path else shape)
