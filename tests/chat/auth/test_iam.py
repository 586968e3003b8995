"""IAM authentication."""

import pytest

from winterbourne.chat.auth.base import Caller
from winterbourne.chat.auth.iam import IamAuthenticator
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.request import Request


class TestIam:
    async def test_the_caller_is_who_the_url_says(self) -> None:
        identity = {"userId": "AROA:ci", "userArn": "arn:aws:sts::123456789012:assumed-role/ci/ci"}
        event = {"requestContext": {"authorizer": {"iam": identity}}}
        caller = await IamAuthenticator().authenticate(Request.from_event(event))
        assert caller == Caller("iam:AROA:ci", "arn:aws:sts::123456789012:assumed-role/ci/ci")

    @pytest.mark.parametrize("event", [{}, {"requestContext": {"authorizer": None}}, {"headers": {"userid": "x"}}])
    async def test_without_an_identity_it_is_forbidden(self, event: dict[str, object]) -> None:
        with pytest.raises(RequestRejected, match="AWS_IAM") as refusal:
            await IamAuthenticator().authenticate(Request.from_event(event))
        assert refusal.value.status == 403
