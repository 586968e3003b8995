"""The two probes."""

from typing import cast

from tests.chat.exchanges import Answered, FixedContext, request
from tests.chat.fakes import ScriptModel, SleepingTools
from winterbourne import ResponseStream
from winterbourne.chat.auth.base import ANONYMOUS
from winterbourne.chat.http.endpoints.health import Probes
from winterbourne.chat.http.service import Act, Call


async def probe(act: Act) -> Answered:
    answered = Answered()
    stream = cast("ResponseStream", answered)
    await act(Call(request=request("GET", "/"), caller=ANONYMOUS, names={}, stream=stream, context=FixedContext()))
    return answered


async def test_health_is_that_the_process_answers() -> None:
    assert (await probe(Probes(ScriptModel(), SleepingTools()).health)).json == {"status": "ok"}


async def test_readiness_says_what_there_is_and_asks_no_model() -> None:
    model = ScriptModel()
    answered = await probe(Probes(model, SleepingTools()).readiness)
    assert answered.json == {"status": "ready", "model": "script", "tools": ["sleep"]}
    assert model.requests == []
