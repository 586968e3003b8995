"""The two probes."""

from typing import cast

from chat.auth import ANONYMOUS
from chat.probes import Probes
from chat.service import Act, Call
from tests.function.exchanges import Answered, FixedContext, request
from tests.function.fakes import ScriptModel, SleepingTools
from winterbourne import ResponseStream


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
