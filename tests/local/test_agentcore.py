"""AgentCore Runtime: one path reaches the application, with the headers that the service lets through and adds."""

import pytest

from tests.local.test_http_door import behind
from winterbourne.local.agentcore import PREFIX, AgentCoreRuntime

FORBIDDEN = ("cookie", "origin", "user-agent", "x-forwarded-for", "x-api-key", "x-amz-date", f"{PREFIX}request-id")


class TestTheHeaders:
    async def test_of_a_caller_are_let_through_by_a_list(self) -> None:
        kept = {
            "authorization": "Bearer k",
            "accept": "text/event-stream",
            f"{PREFIX}custom-a": "b",
            "traceparent": "t",
        }
        named = {f"{PREFIX}session-id": "s" * 33, f"{PREFIX}user-id": "ada"}
        async with behind(AgentCoreRuntime) as at:
            sent = {**dict.fromkeys(FORBIDDEN, "forged"), **kept, **named}
            response = await at.http.post("/invocations", json={}, headers=sent)
        headers = at.asked[0][2]
        assert "forged" not in headers.values()
        assert headers.items() >= {**kept, **named, "content-type": "application/json"}.items()
        assert headers[f"{PREFIX}request-id"]
        assert response.headers[f"{PREFIX}session-id"] == "s" * 33

    async def test_name_a_new_session_if_the_caller_names_none(self) -> None:
        async with behind(AgentCoreRuntime) as at:
            response = await at.http.post("/invocations", json={})
        assert len(at.asked[0][2][f"{PREFIX}session-id"]) >= 33
        assert response.headers[f"{PREFIX}session-id"] == at.asked[0][2][f"{PREFIX}session-id"]


class TestThePaths:
    @pytest.mark.parametrize(
        "path", ["/invocations", "/runtimes/arn%3Aaws%3Ax/invocations", "/runtimes/a/invocations?qualifier=v1"]
    )
    async def test_of_an_invocation_are_one_to_the_application(self, path: str) -> None:
        async with behind(AgentCoreRuntime) as at:
            assert (await at.http.post(path, json={"a": 1})).status_code == 200
        assert at.asked[0][:2] == ("POST", "/invocations")
        assert at.asked[0][3] == b'{"a":1}'

    async def test_of_a_ping_reaches_it_too(self) -> None:
        async with behind(AgentCoreRuntime) as at:
            assert (await at.http.get("/ping")).status_code == 200
        assert at.asked[0][:2] == ("GET", "/ping")

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", "/"), ("POST", "/chat"), ("GET", "/invocations"), ("POST", "/ping")]
    )
    async def test_that_are_others_do_not(self, method: str, path: str) -> None:
        async with behind(AgentCoreRuntime) as at:
            assert (await at.http.request(method, path)).status_code == 404
        assert not at.asked
