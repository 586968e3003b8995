"""The native format, decoding: request bodies, their histories, and error bodies."""

from typing import Any

import pytest
from hypothesis import given

from tests.chat.conversations import histories
from tests.chat.formats import writers
from tests.chat.formats.wire import read, rejection
from winterbourne.chat.core.messages import Image, Message, Text, ToolMessage, UserMessage
from winterbourne.chat.formats.native.decode import FORMAT
from winterbourne.chat.settings import Settings


class TestBodies:
    def test_the_shortest_body_is_one_message(self) -> None:
        chat = read(FORMAT, {"messages": [{"role": "user", "content": "Hi"}]})
        assert chat.messages == (UserMessage((Text("Hi"),)),)
        assert not chat.store

    def test_options_are_decoded(self) -> None:
        chat = read(
            FORMAT,
            {
                "messages": [{"role": "user", "content": "Hi"}],
                "conversation_id": "c_1",
                "model": "big",
                "temperature": 0.5,
                "max_tokens": 10,
                "system": "Be short.",
                "tool_choice": "none",
                "store": True,
            },
            Settings.of(model_choices="small, big"),
        )
        assert (chat.conversation_id, chat.model_id, chat.temperature, chat.max_tokens) == ("c_1", "big", 0.5, 10)
        assert (chat.system, chat.tool_choice, chat.store) == ("Be short.", "none", True)

    @given(histories())
    def test_a_history_arrives_without_loss(self, history: tuple[Message, ...]) -> None:
        assert read(FORMAT, writers.native(history)).messages == history

    def test_a_new_result_may_belong_to_a_stored_call(self) -> None:
        result = {"role": "tool", "tool_call_id": "c1", "content": "{}"}
        assert read(FORMAT, {"messages": [result], "store": True}).messages == (ToolMessage("c1", "", "{}"),)

    def test_an_image_has_either_data_or_a_url(self) -> None:
        part = {"type": "image", "media_type": "image/png", "data": "aGk="}
        chat = read(FORMAT, {"messages": [{"role": "user", "content": [part]}]})
        assert chat.messages == (UserMessage((Image("image/png", "aGk="),)),)
        body = {"messages": [{"role": "user", "content": [{**part, "url": "https://example.com/a.png"}]}]}
        assert rejection(FORMAT, body) == (400, "unsupported_media")

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({}, "invalid_request"),
            ({"messages": []}, "no_messages"),
            ({"messages": "Hi"}, "invalid_request"),
            ({"messages": [{"role": "robot", "content": "Hi"}]}, "invalid_request"),
            ({"messages": [{"content": "Hi"}]}, "invalid_request"),
            ({"messages": [{"role": "user"}]}, "invalid_request"),
            ({"messages": [{"role": "user", "content": ""}]}, "empty_message"),
            ({"messages": [{"role": "user", "content": 5}]}, "invalid_request"),
            ({"messages": [{"role": "user", "content": "Hi"}], "temperature": 9}, "invalid_request"),
            ({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 0}, "invalid_request"),
        ],
    )
    def test_an_invalid_body_is_rejected(self, body: dict[str, Any], code: str) -> None:
        assert rejection(FORMAT, body) == (400, code)

    def test_the_rejection_names_the_field(self) -> None:
        with pytest.raises(Exception, match=r"^messages\[0\]\.content: expected "):
            read(FORMAT, {"messages": [{"role": "user", "content": 5}]})

    def test_an_error_body_has_code_and_message(self) -> None:
        assert FORMAT.encode_error(400, "x", 'say "please"', "r-1") == (
            "application/json",
            b'{"error":{"code":"x","message":"say \\"please\\"","request_id":"r-1"}}',
        )


def test_the_last_answer_of_a_kept_conversation_is_regenerated_without_messages() -> None:
    chat = read(FORMAT, {"messages": [], "conversation_id": "c_1", "store": True, "regenerate": True})
    assert (chat.messages, chat.regenerate) == ((), True)
