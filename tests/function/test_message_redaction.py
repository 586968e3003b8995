"""What goes to the model and into the store has no secret in it."""

from chat.message_redaction import redact_message, redact_messages
from chat.messages import AssistantMessage, Image, Reasoning, SystemMessage, Text, ToolCall, ToolMessage, UserMessage
from chat.redaction import MASK, register

KEY = "sk-harbour-42"


def test_a_history_is_clean_and_what_a_provider_signed_is_as_it_came_or_not_signed() -> None:
    register(KEY)
    history = (
        SystemMessage(f"a {KEY}"),
        UserMessage((Text(f"b {KEY}"), Image("", url=f"https://x.test/?{KEY}"), Text("as it was")), "u"),
        AssistantMessage(
            (Reasoning(f"c {KEY}", KEY, KEY), Reasoning("d", KEY, KEY), ToolCall("1", "t", f'{{"d":"{KEY}"}}')),
            "m",
            incomplete=True,
        ),
        ToolMessage("1", "t", f"e {KEY}", is_error=True),
    )
    assert redact_messages(history) == (
        SystemMessage(f"a {MASK}"),
        UserMessage((Text(f"b {MASK}"), Image("", url=f"https://x.test/?{MASK}"), Text("as it was")), "u"),
        AssistantMessage(
            (Reasoning(f"c {MASK}"), Reasoning("d", KEY, KEY), ToolCall("1", "t", f'{{"d":"{MASK}"}}')),
            "m",
            incomplete=True,
        ),
        ToolMessage("1", "t", f"e {MASK}", is_error=True),
    )


def test_a_history_without_secrets_is_not_copied() -> None:
    register(KEY)
    message = UserMessage((Text("hello"),), "u")
    assert redact_message(message) is message
