"""Any body, in every format: a ChatRequest, or a refusal in the format's own shape. Never anything else."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.errors import RequestRejected
from chat.frontends import ag_ui, ai_sdk, native, openai
from chat.frontends.base import Frontend
from chat.messages import ChatRequest
from chat.settings import Settings
from tests.function.bodies import bodies
from tests.function.frontends.wire import attempt, post

FRONTENDS: tuple[Frontend, ...] = (native.FRONTEND, ai_sdk.FRONTEND, ag_ui.FRONTEND, openai.FRONTEND)


@pytest.mark.parametrize("frontend", FRONTENDS, ids=lambda frontend: frontend.path)
class TestAnyBody:
    @given(data=st.data())
    def test_it_is_understood_or_refused(self, frontend: Frontend, data: st.DataObject) -> None:
        taken_or_refused(frontend, orjson.dumps(data.draw(bodies(frontend.path))))

    @given(raw=st.binary(max_size=50))
    def test_bytes_are_refused(self, frontend: Frontend, raw: bytes) -> None:
        taken_or_refused(frontend, raw)


def taken_or_refused(frontend: Frontend, raw: bytes) -> None:
    outcome = attempt(lambda: frontend.read(post(raw), Settings()))
    if isinstance(outcome, RequestRejected):
        assert 400 <= outcome.status < 500
        error = orjson.loads(frontend.error_body(outcome.status, outcome.code, str(outcome)))["error"]
        assert (error["code"], error["message"]) == (outcome.code, str(outcome))
    else:
        assert isinstance(outcome[0], ChatRequest)
        assert outcome[1].encode(()) == b""
