"""AI SDK history: which UI messages and parts become messages, and how."""

import pytest
from hypothesis import given

from tests.chat.conversations import histories
from tests.chat.formats import writers
from tests.chat.formats.ai_sdk.ui_messages import assistant, call, user
from tests.chat.formats.wire import read, rejection
from winterbourne.chat.core.history import INTERRUPTED_CALL_RESULT
from winterbourne.chat.core.messages import AssistantMessage, Message, Text, ToolCall, ToolMessage, UserMessage
from winterbourne.chat.formats.ai_sdk.decode import FORMAT


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
        assert read(FORMAT, {"messages": [user(note)]}).messages == (UserMessage((Text("Hi"), Text("hello")), "u1"),)
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
