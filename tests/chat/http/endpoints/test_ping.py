"""AgentCore's probe: whether chats run, and since when; and the path on which they come there."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.chat.http_events import RecordedResponse, call_endpoint, event, handle, request
from tests.chat.test_app import make_service, send
from winterbourne.chat.http.endpoints.ping import PingEndpoint
from winterbourne.chat.http.service import RequestContext, Service

pytestmark = pytest.mark.usefixtures("own_hooks")

HELLO = {"role": "user", "content": "hello"}


async def ask(endpoint: PingEndpoint) -> Any:
    return (await call_endpoint(endpoint.handle, request("GET", "/ping"))).json


class TestPing:
    async def test_is_busy_while_something_runs_and_the_time_is_that_of_the_change(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = [100.5]
        monkeypatch.setattr(time, "time", lambda: now[0])
        endpoint, ends = PingEndpoint(), [asyncio.Event(), asyncio.Event()]

        async def run(context: RequestContext) -> None:
            await ends[int(context.path_params["number"])].wait()

        seen = [await ask(endpoint)]
        running = list[asyncio.Task[RecordedResponse]]()
        for number in range(2):
            now[0] += 10
            handler = endpoint.counting(run)
            running.append(asyncio.create_task(call_endpoint(handler, request("POST", "/"), number=str(number))))
            await asyncio.sleep(0)
            seen.append(await ask(endpoint))
        for task, end in zip(running, ends, strict=True):
            now[0] += 10
            end.set()
            await task
            seen.append(await ask(endpoint))
        assert [(each["status"], each["time_of_last_update"]) for each in seen] == [
            ("Healthy", 100),
            ("HealthyBusy", 110),
            ("HealthyBusy", 110),
            ("HealthyBusy", 110),
            ("Healthy", 140),
        ]

    async def test_is_no_longer_busy_after_a_failure(self) -> None:
        endpoint = PingEndpoint()
        with pytest.raises(ZeroDivisionError):
            await call_endpoint(endpoint.counting(_fail), request("POST", "/"))
        assert (await ask(endpoint))["status"] == "Healthy"


async def _fail(_: RequestContext) -> None:
    raise ZeroDivisionError


def agentcore(**settings: object) -> Service:
    return make_service(asgi_door="agentcore", **settings)


class TestUnderAgentCore:
    async def test_every_chat_counts_and_whoever_asks_needs_no_key(self) -> None:
        service = agentcore(scripted_words_per_second=1)
        body = event("POST", "/invocations", {"messages": [HELLO]})
        chats = [asyncio.create_task(handle(service, body | {}, RecordedResponse())) for _ in range(8)]
        await asyncio.sleep(0)
        answer = json.loads((await send(service, "GET", "/ping"))["body"])
        assert answer["status"] == "HealthyBusy"
        assert abs(answer["time_of_last_update"] - time.time()) < 60
        for chat in chats:
            chat.cancel()
        await asyncio.wait(chats)
        assert json.loads((await send(service, "GET", "/ping"))["body"])["status"] == "Healthy"
        assert (await send(agentcore(auth="api_key"), "GET", "/ping"))["statusCode"] == 200

    @pytest.mark.parametrize(
        ("body", "is_first"),
        [
            ({"messages": [HELLO]}, lambda frame: frame["type"] == "start"),
            (
                {"threadId": "t", "runId": "r", "messages": [{"id": "m", **HELLO}], "tools": [], "context": []},
                lambda frame: frame["type"] == "RUN_STARTED" and frame["threadId"] == "t",
            ),
        ],
    )
    async def test_either_format_is_answered_in_its_own(self, body: Any, is_first: Callable[[Any], bool]) -> None:
        response = RecordedResponse()
        await handle(agentcore(), event("POST", "/invocations", body), response)
        assert is_first(response.frames[0])

    async def test_a_body_of_neither_is_refused_by_its_field(self) -> None:
        answer = await send(agentcore(), "POST", "/invocations", {"prompt": "hello"})
        assert (answer["statusCode"], json.loads(answer["body"])["error"]["code"]) == (400, "invalid_request")

    async def test_elsewhere_neither_path_is_there(self) -> None:
        assert (await send(make_service(), "GET", "/ping"))["statusCode"] == 404
        assert (await send(make_service(), "POST", "/invocations", {}))["statusCode"] == 404
