"""AI SDK history: which UI messages and parts become messages, and how."""

import asyncio
import itertools
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from tests.chat.conversations import histories
from tests.chat.formats import writers
from tests.chat.formats.ai_sdk.ui_messages import assistant, call, user
from tests.chat.formats.kept_chats import SERVER_TOOLS, generate
from tests.chat.formats.wire import read, rejection
from winterbourne.chat.core.history import (
    DENIED_CALL_RESULT,
    INTERRUPTED_CALL_RESULT,
    normalize_history,
    without_sources,
)
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    Document,
    Image,
    Message,
    Opaque,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from winterbourne.chat.formats.ai_sdk import FORMAT
from winterbourne.chat.formats.ai_sdk.history import UIMessage, decode_history, encode_history


class TestHistory:
    @given(histories())
    def test_it_arrives_without_loss(self, history: tuple[Message, ...]) -> None:
        assert read(FORMAT, writers.ai_sdk(history)).messages == history

    def test_steps_become_turns(self) -> None:
        answer = assistant(
            {"type": "step-start"},
            {"type": "text", "text": "Let me see."},
            call("output-available", output={"t": 1}),
            {"type": "step-start"},
            {"type": "text", "text": "It is 1."},
        )
        assert read(FORMAT, {"messages": [user(), answer]}).messages[1:] == (
            AssistantMessage((Text("Let me see."), ToolCall("c1", "x", '{"a":1}')), "a1"),
            ToolMessage("c1", "x", '{"t":1}'),
            AssistantMessage((Text("It is 1."),), "a1"),
        )

    def test_a_typed_tool_part_names_its_tool_in_its_type(self) -> None:
        answer = assistant({**call("output-available", output=1), "type": "tool-get_weather", "toolName": ""})
        assert read(FORMAT, {"messages": [user(), answer]}).messages[2] == ToolMessage("c1", "get_weather", "1")

    @pytest.mark.parametrize("state", ["input-available", "approval-requested", "approval-responded"])
    def test_a_call_without_an_outcome_gets_an_error_result(self, state: str) -> None:
        messages = read(FORMAT, {"messages": [user(), assistant(call(state)), user(id_="u2")]}).messages
        assert messages[2] == ToolMessage("c1", "x", INTERRUPTED_CALL_RESULT, is_error=True)

    def test_a_preliminary_output_is_not_an_outcome(self) -> None:
        answer = assistant(call("output-available", output=1, preliminary=True))
        assert read(FORMAT, {"messages": [user(), answer]}).messages[2] == ToolMessage(
            "c1", "x", INTERRUPTED_CALL_RESULT, is_error=True
        )

    def test_a_call_whose_arguments_were_still_streaming_is_left_out(self) -> None:
        answer = assistant({"type": "text", "text": "Let"}, call("input-streaming"))
        messages = read(FORMAT, {"messages": [user(), answer, user(id_="u2")]}).messages
        assert messages[1] == AssistantMessage((Text("Let"),), "a1", incomplete=True)
        assert len(messages) == 3

    def test_a_denied_call_has_an_error_result_that_says_so(self) -> None:
        messages = read(FORMAT, {"messages": [user(), assistant(call("output-denied"))]}).messages
        assert messages[2] == ToolMessage("c1", "x", "The user did not allow this call.", is_error=True)

    def test_invalid_arguments_are_kept_as_they_were(self) -> None:
        answer = assistant({**call("output-error", errorText="no JSON", rawInput='{"a'), "input": None})
        assert read(FORMAT, {"messages": [user(), answer]}).messages[1] == AssistantMessage(
            (ToolCall("c1", "x", '{"a'),), "a1"
        )

    def test_display_only_parts_are_left_out(self) -> None:
        shown = [
            {"type": "data-chart", "data": [1]},
            {"type": "source-url", "sourceId": "1", "url": "https://example.com"},
        ]
        assert read(FORMAT, {"messages": [user(), assistant(*shown), user(id_="u2")]}).messages == (
            UserMessage((Text("Hi"),), "u1"),
            UserMessage((Text("Hi"),), "u2"),
        )

    def test_a_text_file_is_read_and_another_kind_is_rejected(self) -> None:
        note = {"type": "file", "mediaType": "text/plain", "url": "data:text/plain;base64,aGVsbG8="}
        expected = UserMessage((Text("Hi"), Document("text/plain", data="aGVsbG8=")), "u1")
        assert read(FORMAT, {"messages": [user(note)]}).messages == (expected,)
        pdf = {"type": "file", "mediaType": "application/pdf", "url": "data:application/pdf;base64,aGk="}
        assert rejection(FORMAT, {"messages": [user(pdf)]}) == (400, "unsupported_media")

    @pytest.mark.parametrize(
        "message",
        [
            {"role": "user"},
            {"role": "tool", "parts": []},
            {"role": "user", "parts": [{"text": "no type"}]},
            {"role": "user", "parts": [{"type": "text", "text": 5}]},
            {"role": "user", "parts": "Hi"},
        ],
    )
    def test_a_message_of_another_shape_is_rejected(self, message: object) -> None:
        assert rejection(FORMAT, {"messages": [message]}) == (400, "invalid_request")


def as_sent_back(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Messages as they come back: without an answer's usage in a turn, an incomplete turn, and sources.

    A client has no field for the former, and sources are not sent to a model again.
    """
    return tuple(
        msgspec.structs.replace(message, parts=tuple(without_sources(message.parts)), usage=UNSET, incomplete=False)
        if isinstance(message, AssistantMessage)
        else message
        for message in messages
    )


def sent_back(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Kept messages as they are loaded and sent back."""
    loaded = msgspec.json.decode(msgspec.json.encode(encode_history(messages, SERVER_TOOLS)), type=list[UIMessage])
    return tuple(decode_history(loaded))


def nulls(value: Any, *, inside: str = "") -> list[str]:
    """The fields that are null, apart from those of arguments and results."""
    if isinstance(value, dict):
        fields = ((name, one) for name, one in value.items() if name not in {"input", "output"})
        return list(itertools.chain.from_iterable(nulls(one, inside=name) for name, one in fields))
    if isinstance(value, list):
        return list(itertools.chain.from_iterable(nulls(one, inside=inside) for one in value))
    return [inside] if value is None else []


class TestKeptMessages:
    """That they are what the client has is shown by the clients themselves, in tests/end_to_end."""

    @given(histories())
    def test_any_history_comes_back_as_it_was_kept(self, history: tuple[Message, ...]) -> None:
        assert sent_back(history) == history

    @given(st.integers(0, 2**32))
    def test_so_does_what_a_real_conversation_keeps(self, seed: int) -> None:
        kept = asyncio.run(generate(seed, same_id=True, late_data=bool(seed % 2))).kept
        assert normalize_history(sent_back(kept)) == normalize_history(as_sent_back(kept))
        assert nulls(encode_history(kept, SERVER_TOOLS)) == []

    def test_an_answer_is_one_message_with_its_usage(self) -> None:
        kept: list[Message] = [
            AssistantMessage((Reasoning("hm", "sig"), ToolCall("c1", "get_weather", '{"a":1}')), "a1"),
            ToolMessage("c1", "get_weather", "18"),
            AssistantMessage((Text("18."),), "a1", usage=Usage(9, 4, 2)),
        ]
        signed = {"providerMetadata": {"winterbourne": {"signature": "sig"}}}
        assert encode_history(kept, SERVER_TOOLS) == [
            {
                "id": "a1",
                "role": "assistant",
                "parts": [
                    {"type": "step-start"},
                    {"type": "reasoning", "id": "p1", "text": "hm", "state": "done", **signed},
                    {
                        "type": "dynamic-tool",
                        "toolName": "get_weather",
                        "toolCallId": "c1",
                        "state": "output-available",
                        "input": {"a": 1},
                        "output": 18,
                    },
                    {"type": "step-start"},
                    {"type": "text", "text": "18.", "state": "done"},
                ],
                "metadata": {"usage": {"inputTokens": 9, "outputTokens": 4, "cachedInputTokens": 2}},
            }
        ]

    @pytest.mark.parametrize(
        ("after", "state", "approval"),
        [
            ([], "approval-requested", {"requestReason": "Pay?"}),
            ([ToolMessage("c1", "pay", "{}")], "output-available", {"approved": True}),
            ([ToolMessage("c1", "pay", "closed", is_error=True)], "output-error", {"approved": True}),
            ([ToolMessage("c1", "pay", DENIED_CALL_RESULT, is_error=True)], "output-denied", {"approved": False}),
            (
                [ToolMessage("c1", "pay", f"{DENIED_CALL_RESULT} Too much.", is_error=True)],
                "output-denied",
                {"approved": False, "reason": "Too much."},
            ),
            ([UserMessage((Text("Never mind"),), "u2")], "output-denied", {"approved": False}),
        ],
    )
    def test_a_person_can_decide_on_a_page_that_is_loaded_again(
        self, after: list[Message], state: str, approval: dict[str, Any]
    ) -> None:
        asked = ToolCall("c1", "pay", "{}", approval=Approval("1.a.b", 1, "Pay?"))
        kept = [UserMessage((Text("Pay"),), "u1"), AssistantMessage((asked,), "m1"), *after]
        part = encode_history(kept, {"pay"})[1]["parts"][1]
        assert (part["state"], part["approval"]) == (state, {"id": "1.a.b", **approval})
        assert ("errorText" in part) == (state == "output-error")

    def test_a_call_of_no_tool_of_the_server_is_one_of_the_pages(self) -> None:
        [message] = encode_history([AssistantMessage((ToolCall("c1", "ask", ""),), "a1")], SERVER_TOOLS)
        asked = {"type": "tool-ask", "toolCallId": "c1", "state": "input-available", "input": {}}
        assert message["parts"][1:] == [asked]

    def test_a_failed_call_says_why(self) -> None:
        call = AssistantMessage((ToolCall("c1", "calculate", '{"a'),), "a1")
        [message] = encode_history([call, ToolMessage("c1", "", "no", is_error=True)], SERVER_TOOLS)
        part = message["parts"][-1]
        assert (part["state"], part["errorText"], part["input"]) == ("output-error", "no", '{"a')

    def test_a_result_that_is_no_json_is_text(self) -> None:
        """Clients of other formats send such results of their tools."""
        call = AssistantMessage((ToolCall("c1", "ask", "{}"),), "a1")
        [message] = encode_history([call, ToolMessage("c1", "ask", "blue")], SERVER_TOOLS)
        assert message["parts"][-1]["output"] == "blue"

    def test_what_is_opaque_in_a_call_is_in_its_own_metadata(self) -> None:
        call = ToolCall("c1", "calculate", "{}", Opaque("p:m", "", '{"s":1}'))
        [message] = encode_history([AssistantMessage((call,), "a1")], SERVER_TOOLS)
        metadata = {"winterbourne": {"opaque": {"origin": "p:m", "fields": '{"s":1}'}}}
        assert message["parts"][-1]["callProviderMetadata"] == metadata

    def test_an_image_is_a_file(self) -> None:
        parts = (Image("image/png", "aGk="), Image("", url="https://example.com/a"))
        [message] = encode_history([UserMessage(parts, "u1")], ())
        assert message["parts"] == [
            {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,aGk="},
            {"type": "file", "mediaType": "image/*", "url": "https://example.com/a"},
        ]

    def test_what_has_no_id_has_one_of_its_place(self) -> None:
        """Clients of other formats send none with what they keep themselves."""
        kept: list[Message] = [
            SystemMessage("Be brief."),
            UserMessage((Text("Hi"),), "u1"),
            AssistantMessage((Text("Hi"),)),
        ]
        kept += [UserMessage((Text("Hi"),), "u2"), AssistantMessage((Text("Hi"),))]
        assert [message["id"] for message in encode_history(kept, ())] == ["s_0", "u1", "m_2", "u2", "m_4"]

    def test_a_result_without_its_call_is_left_out(self) -> None:
        assert encode_history([ToolMessage("c1", "ask", "1")], ()) == []
