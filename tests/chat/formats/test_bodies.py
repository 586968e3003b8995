"""Any body, in every format: a ChatRequest, or a refusal in the format's own shape. Never anything else."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.bodies import bodies
from tests.chat.formats.wire import attempt, post
from winterbourne.chat.core.messages import ChatRequest
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats import ag_ui, ai_sdk, native, openai
from winterbourne.chat.formats.base import Frontend
from winterbourne.chat.settings import Settings

FRONTENDS: tuple[Frontend, ...] = (native.FRONTEND, ai_sdk.FRONTEND, ag_ui.FRONTEND, openai.FRONTEND)


@pytest.mark.parametrize("frontend", FRONTENDS, ids=lambda frontend: frontend.path)
class TestAnyBody:
    @given(data=st.data())
    def test_it_is_understood_or_refused(self, frontend: Frontend, data: st.DataObject) -> None:
        taken_or_refused(frontend, orjson.dumps(data.draw(bodies(frontend.path))))

    @given(raw=st.binary(max_size=50))
    def test_bytes_are_refused(self, frontend: Frontend, raw: bytes) -> None:
        taken_or_refused(frontend, raw)


@pytest.mark.parametrize("name", ["", "two words", "a" * 65, "line\n", "é"])
@pytest.mark.parametrize("frontend", FRONTENDS[1:], ids=lambda frontend: frontend.path)
def test_a_tool_whose_name_no_provider_takes_is_refused_before_one_is_asked(frontend: Frontend, name: str) -> None:
    schema = {"type": "object", "properties": {}}
    tools = {
        "/api/chat": {name: {"parameters": schema}},
        "/agui": [{"name": name, "parameters": schema}],
        "/v1/chat/completions": [{"type": "function", "function": {"name": name, "parameters": schema}}],
    }
    said = {"role": "user", "id": "1", "content": "hi", "parts": [{"type": "text", "text": "hi"}]}
    outcome = attempt(lambda: frontend.read(post({"messages": [said], "tools": tools[frontend.path]}), Settings()))
    assert isinstance(outcome, RequestRejected)
    assert str(outcome).startswith("tools")


def taken_or_refused(frontend: Frontend, raw: bytes) -> None:
    outcome = attempt(lambda: frontend.read(post(raw), Settings()))
    if isinstance(outcome, RequestRejected):
        assert 400 <= outcome.status < 500
        error = orjson.loads(frontend.error_body(outcome.status, outcome.code, str(outcome)))["error"]
        assert (error["code"], error["message"]) == (outcome.code, str(outcome))
    else:
        assert isinstance(outcome[0], ChatRequest)
        assert outcome[1].encode(()) == b""
