"""One text that a model writes for the server itself."""

import msgspec
import pytest

from tests.chat.fakes import FakeProvider, Step, answer
from tests.clock import jumping
from winterbourne.chat.core.completion import complete
from winterbourne.chat.core.events import ReasoningDelta, StopReason, TextDelta, TurnEnded, Usage
from winterbourne.chat.core.messages import Text, UserMessage
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.errors import ModelBusy

REQUEST = ModelRequest(messages=(UserMessage((Text("Summarise."),)),))


def priced(model: str, usage: Usage) -> Usage:
    return msgspec.structs.replace(usage, cost=0.5) if model == "script:" else usage


class TestComplete:
    async def ask(self, *steps: Step) -> tuple[str, StopReason, list[Usage]]:
        usages: list[Usage] = []
        return (*await complete(FakeProvider([*steps]), REQUEST, usages.append, priced), usages)

    @jumping
    async def test_returns_the_text_and_why_it_ends(self) -> None:
        assert await self.ask(*answer("They sail.")) == ("They sail.", "stop", [Usage(2, 3, cost=0.5)])

    @jumping
    async def test_leaves_out_what_the_model_thought(self) -> None:
        said: Step = [ReasoningDelta("Hm."), TextDelta("<think>Ships?</think>They "), TextDelta("sail.")]
        assert (await self.ask(said, [TurnEnded("max_tokens")]))[:2] == ("They sail.", "max_tokens")

    @jumping
    async def test_mends_half_characters(self) -> None:
        assert (await self.ask(*answer("\ud83d ahoy")))[0] == "\ufffd ahoy"

    @jumping
    async def test_counts_what_was_used_before_it_failed(self) -> None:
        usages: list[Usage] = []
        with pytest.raises(ModelBusy):
            await complete(FakeProvider([[TextDelta("They sail")], ModelBusy("busy")]), REQUEST, usages.append, priced)
        assert len(usages) == 1
        assert usages[0].output > 0

    @jumping
    async def test_counts_nothing_if_it_failed_at_once(self) -> None:
        usages: list[Usage] = []
        with pytest.raises(ModelBusy):
            await complete(FakeProvider([ModelBusy("busy")]), REQUEST, usages.append, priced)
        assert not usages
