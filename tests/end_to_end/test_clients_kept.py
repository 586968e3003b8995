"""Kept conversations as frontends load them: what the real clients have after the streams, and what is loaded, are one.

Generated chats: tools of the server and of the page, reasoning with signatures and opaque data, images, failures,
stops, several turns in an answer. A few of them here, all thousand in `make test-clients`.
"""

import asyncio
from collections import Counter
from typing import Any

import orjson
import pytest

from tests import npm
from tests.chat.formats.kept_chats import CLIENT_TOOLS, SERVER_TOOLS, Answer, Chat, generate
from winterbourne.chat.core import events as e
from winterbourne.chat.core.messages import Document, Image, UserMessage
from winterbourne.chat.formats.ag_ui import history as ag_ui
from winterbourne.chat.formats.ag_ui.encode import AgUiEncoder
from winterbourne.chat.formats.ai_sdk import history as ai_sdk
from winterbourne.chat.formats.ai_sdk.encode import AiSdkEncoder

pytestmark = pytest.mark.slow

COUNTS = [pytest.param(30, id="a few"), pytest.param(1000, id="a thousand", marks=pytest.mark.clients)]


def chats(count: int, *, same_id: bool, late_data: bool = False) -> list[Chat]:
    async def all_of_them() -> list[Chat]:
        return [await generate(seed, same_id=same_id, late_data=late_data) for seed in range(count)]

    return asyncio.run(all_of_them())


def test_the_generated_chats_have_all_of_it() -> None:
    answers = [answer for chat in chats(100, same_id=True) for answer in chat.answers]
    events = Counter(type(event) for answer in answers for event in answer.events)
    needed = (
        e.SourceCited,
        e.ConversationFailed,
        e.ConversationStopped,
        e.ReasoningEnded,
        e.ToolFinished,
        e.ToolProgressed,
    )
    assert min(events[kind] for kind in needed) >= 10
    assert events[e.TurnStarted] > 1.2 * len(answers)
    assert sum(bool(answer.results) for answer in answers) >= 10
    questions = [answer.question for answer in answers if answer.question]
    for kind in (Image, Document):
        assert sum(isinstance(part, kind) for question in questions for part in question.parts) >= 10


class TestUIMessages:
    def in_the_page(self, answer: Answer) -> dict[str, Any]:
        """An answer's request as the page has it, and the answer's stream."""
        stream = AiSdkEncoder(CLIENT_TOOLS).encode(answer.events).decode()
        if answer.question:
            return {"message": ai_sdk.encode_history([answer.question], ())[0], "stream": stream}
        outputs = {
            result.tool_call_id: {"state": "output-error", "errorText": result.content}
            if result.is_error
            else {"state": "output-available", "output": orjson.loads(result.content)}
            for result in answer.results
        }
        return {"outputs": outputs, "stream": stream}

    @pytest.mark.parametrize("version", ["ai", "ai6", "ai5"])
    @pytest.mark.parametrize("count", COUNTS)
    def test_what_is_loaded_is_what_the_streams_have_built(self, version: str, count: int) -> None:
        given = [
            {
                "kept": ai_sdk.encode_history(chat.kept, SERVER_TOOLS),
                "answers": [*map(self.in_the_page, chat.answers)],
            }
            for chat in chats(count, same_id=True)
        ]
        assert npm.run("kept.mjs", version, given=given) == []

    def test_an_answer_without_a_word_is_an_empty_message_in_the_page_alone(self) -> None:
        """Nothing of it is kept, so it cannot be loaded."""
        question = UserMessage((Image("image/png", "iVBORw0KGgo="),), "u1")
        failed = e.ConversationFailed("model_busy", "later")
        answer = Answer(question, [], (), [e.ConversationStarted("c", "m", "x"), e.TurnStarted(1), failed])
        kept = ai_sdk.encode_history([question], ())
        [difference] = npm.run("kept.mjs", "ai", given=[{"kept": kept, "answers": [self.in_the_page(answer)]}])
        assert difference["live"][1:] == [{"id": "m", "role": "assistant", "parts": []}]


class TestAgUiThreads:
    def in_the_page(self, answer: Answer, *, knows_1_0: bool) -> dict[str, Any]:
        """The new messages of an answer's request as the page has them, and the answer's stream."""
        results = [
            {"id": f"result-{one.tool_call_id}", "role": "tool", "toolCallId": one.tool_call_id, "content": one.content}
            for one in answer.results
        ]
        new = ag_ui.encode_history([answer.question]) if answer.question else results
        return {"messages": new, "stream": AgUiEncoder("t1", "r1", knows_1_0).encode(answer.events).decode()}

    def resumed(self, chat: Chat, *, knows_1_0: bool) -> str:
        """The last answer, sent to an agent that has no messages."""
        last = chat.answers[-1]
        return AgUiEncoder("t1", "r1", knows_1_0, last.before).encode(last.events).decode()

    @pytest.mark.parametrize(("package", "knows_1_0"), [("@ag-ui/client", True), ("ag-ui-0", False)])
    @pytest.mark.parametrize("count", COUNTS)
    def test_an_agent_that_reconnects_has_what_one_has_that_never_left(
        self, package: str, count: int, *, knows_1_0: bool
    ) -> None:
        given = [
            {
                "answers": [self.in_the_page(answer, knows_1_0=knows_1_0) for answer in chat.answers],
                "resumed": self.resumed(chat, knows_1_0=knows_1_0),
            }
            for chat in chats(count, same_id=False, late_data=True)
        ]
        assert npm.run("snapshots.mjs", package, given=given) == []
