"""The request id: whatever the format, every refusal and every stream that fails has it, and pages may read it."""

import json
from typing import Any

import pytest

from tests.chat.http_events import RecordedResponse, event, handle
from tests.clock import jumping
from winterbourne.chat.app import build
from winterbourne.chat.http import cors
from winterbourne.chat.http.service import Service
from winterbourne.chat.infra import telemetry
from winterbourne.chat.settings import Settings

pytestmark = pytest.mark.usefixtures("own_hooks")

HELLO = [{"role": "user", "content": "hello", "id": "m", "parts": [{"type": "text", "text": "hello"}]}]
BODIES: dict[str, dict[str, Any]] = {
    "/chat": {"messages": HELLO},
    "/api/chat": {"id": "c", "messages": HELLO},
    "/agui": {"threadId": "t", "runId": "r", "state": {}, "messages": HELLO, "tools": [], "context": []},
    "/v1/chat/completions": {"model": "m", "messages": HELLO, "stream": True},
    "/mcp": {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "none"}},
}
REQUEST_ID = "r-1"


async def answer(path: str, body: object, **settings: object) -> RecordedResponse:
    service: Service = build(
        Settings.of(auth="none", mcp_endpoint="on", title_model="off", **settings), [], telemetry.make_logger()
    )
    response = RecordedResponse()
    await handle(service, event("POST", path, body), response)
    return response


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("body", ["{", [], {"id": 7}])
async def test_every_refusal_has_it(path: str, body: object) -> None:
    response = await answer(path, json.dumps(body) if isinstance(body, list) else body)
    assert response.status >= 400 or "error" in response.json
    assert REQUEST_ID in response.body.decode()


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("streams", [True, False])
def test_every_answer_that_fails_has_it(path: str, streams: bool) -> None:  # noqa: FBT001 - a parameter of the test
    @jumping
    async def run() -> None:
        body = {**BODIES[path], **({} if streams else {"stream": False})}
        address = {"model_provider": "openai", "openai_base_url": "http://127.0.0.1:9/v1", "model_id": "m"}
        response = await answer(path, body, **address)
        assert REQUEST_ID in response.body.decode()
        assert path == "/mcp" or "The model cannot be reached" in response.body.decode()

    run()


def test_pages_may_read_it() -> None:
    assert {"x-request-id", "x-amzn-requestid"} <= set(cors.RESPONSE["access-control-expose-headers"].split(","))
