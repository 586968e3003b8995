"""Any request on every path: an answer, or a rejection in the path's own error shape. Never a 5xx."""

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chat.request_bodies import bodies

pytestmark = pytest.mark.slow

TERMINAL_EVENTS = {
    "/chat": (b'data: {"type":"done"', b'data: {"type":"error"'),
    "/api/chat": (b"data: [DONE]",),
    "/agui": (b'data: {"type":"RUN_FINISHED"', b'data: {"type":"RUN_ERROR"'),
    "/v1/chat/completions": (b"data: [DONE]", b'{"id":"chatcmpl'),
}
ERROR_FIELDS = {"/chat": {"message", "code"}, "/v1/chat/completions": {"message", "type", "param", "code"}}

segments = st.text(min_size=1, max_size=8).map(lambda text: quote(text, safe=""))


@pytest.fixture(scope="module")
def client(function_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=function_url, timeout=30) as client:
        yield client


@pytest.mark.parametrize("path", TERMINAL_EVENTS)
@settings(max_examples=40)
@given(data=st.data())
def test_any_body_is_answered_or_rejected(client: httpx.Client, path: str, data: st.DataObject) -> None:
    response = client.post(
        path, content=orjson.dumps(data.draw(bodies(path))), headers={"content-type": "application/json"}
    )
    if response.status_code == 200:
        last_event = response.content.rstrip().rpartition(b"\n\n")[2]
        assert last_event.startswith(TERMINAL_EVENTS[path])
    else:
        assert 400 <= response.status_code < 500
        assert response.headers["x-error-code"]
        if fields := ERROR_FIELDS.get(path):
            assert set(response.json()["error"]) == {*fields, "request_id"}
        else:
            assert response.headers["content-type"] == "text/plain; charset=utf-8"


@settings(max_examples=60)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"]),
    path=st.lists(
        st.sampled_from(["chat", "api", "v1", "models", "stop", "web", "conversations"]) | segments, max_size=3
    ),
    body=st.binary(max_size=20),
)
def test_any_path_and_method_is_answered(client: httpx.Client, method: str, path: list[str], body: bytes) -> None:
    response = client.request(method, "/" + "/".join(path), content=body)
    assert response.status_code < 500
    if response.status_code >= 400 and method != "HEAD":
        assert response.headers["x-error-code"]
        assert response.text
