"""One conversation in every format, byte for byte: any change on the wire shows in these golden files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from winterbourne.chat.core import events as e
from winterbourne.chat.formats.ag_ui.encode import AgUiEncoder
from winterbourne.chat.formats.ai_sdk.encode import AiSdkEncoder
from winterbourne.chat.formats.base import Encoder
from winterbourne.chat.formats.native.encode import NativeEncoder
from winterbourne.chat.formats.openai.encode import OpenAiChunkEncoder, OpenAiCompletionEncoder

FOLDER = Path(__file__).parents[2] / "transcripts" / "formats"

CONVERSATION: tuple[e.ChatEvent, ...] = (
    e.ConversationStarted("c_1", "m_1", "scripted"),
    e.TurnStarted(1),
    e.ReasoningDelta("Two things to look up."),
    e.ReasoningEnded("sig"),
    e.TextDelta("Let me"),
    e.TextDelta(' look\n"that" up.'),
    e.ToolCallStarted("call_1", "get_weather"),
    e.ToolArgumentsDelta("call_1", '{"city":'),
    e.ToolArgumentsDelta("call_1", '"Paris"}'),
    e.ToolCallReady("call_1", "get_weather", '{"city":"Paris"}'),
    e.ToolStarted("call_1", "get_weather"),
    e.ToolCallStarted("call_2", "calculate"),
    e.ToolCallReady("call_2", "calculate", ""),
    e.ToolQueued("call_2", "calculate"),
    e.ToolProgressed("call_1", "get_weather", b'{"percent": 50}'),
    e.ToolStarted("call_2", "calculate"),
    e.ToolFinished("call_2", "calculate", "failed", 3, error="an expression is needed"),
    e.ToolFinished("call_1", "get_weather", "completed", 312, b'{"celsius":\n18}'),
    e.TurnEnded("tool_calls", e.Usage(20, 9)),
    e.TurnStarted(2),
    e.TextDelta("18 °C \ud83d"),
    e.TextDelta("\ude00"),
    e.ToolCallStarted("call_3", "ask_user"),
    e.ToolArgumentsDelta("call_3", "{}"),
    e.ToolCallReady("call_3", "ask_user", "{}"),
    e.TurnEnded("tool_calls", e.Usage(40, 5, 20)),
    e.ConversationEnded("tool_calls", e.Usage(60, 14, 20), 2),
)

CLIENT_TOOLS = frozenset({"ask_user"})

ENCODERS: dict[str, Callable[[], Encoder]] = {
    "native.sse": NativeEncoder,
    "ai_sdk.sse": lambda: AiSdkEncoder(CLIENT_TOOLS),
    "ag_ui.sse": lambda: AgUiEncoder("thread_1", "run_1"),
    "openai.sse": lambda: OpenAiChunkEncoder("scripted", CLIENT_TOOLS, include_usage=True, created=1),
    "openai.json": lambda: OpenAiCompletionEncoder("scripted", CLIENT_TOOLS, created=1),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_the_bytes_equal_the_golden_file(name: str) -> None:
    encoder = ENCODERS[name]()
    sent = b"".join(encoder.encode([event]) for event in CONVERSATION)
    assert sent.decode() == (FOLDER / name).read_text()
