"""IAM authentication: the caller is the IAM identity that the function URL verified."""

import pytest

from tests.chat.http_events import read_event
from winterbourne.chat.auth.base import Caller
from winterbourne.chat.auth.iam import IamAuthenticator
from winterbourne.chat.errors import RequestRejected


class TestIam:
    async def test_the_caller_is_the_identity_from_the_function_url(self) -> None:
        identity = {"userId": "AROA:ci", "userArn": "arn:aws:sts::123456789012:assumed-role/ci/ci"}
        event = {"requestContext": {"authorizer": {"iam": identity}}}
        caller = await IamAuthenticator().authenticate(read_event(event))
        assert caller == Caller("iam:AROA:ci", "arn:aws:sts::123456789012:assumed-role/ci/ci")

    @pytest.mark.parametrize("event", [{}, {"requestContext": {"authorizer": None}}, {"headers": {"userid": "x"}}])
    async def test_a_request_without_an_identity_is_forbidden(self, event: dict[str, object]) -> None:
        with pytest.raises(RequestRejected, match="A signed request is needed") as rejection:
            await IamAuthenticator().authenticate(read_event(event))
        assert rejection.value.status == 403
