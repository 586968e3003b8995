"""What the scripted model answers: results of tools in, Markdown out. Pure; knows nothing of streams."""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from chat.messages import ToolCall, ToolMessage

__all__ = ["GREETING", "reply"]

GREETING: Final = (
    "I am the scripted model: no network, no key, the same words every time. I can look up share prices, the weather,"
    " exchange rates and the time, and do sums. Try: *Compare AAPL and MSFT, the weather in Paris and Lima, and"
    " 1200 EUR in USD*. Set `MODEL_PROVIDER` to talk to a real model."
)
_PRACTICE: Final = "\n\nSome of these are practice data, made up on this machine."


def reply(calls: Sequence[ToolCall], results: Sequence[ToolMessage]) -> str:
    """One line per result, in the order of the calls; failures in their own words; practice data named as such."""
    by_id = {result.tool_call_id: result for result in results}
    lines = [f"- {_line(call, by_id[call.id])}" for call in calls if call.id in by_id]
    head = "Here is what I found:" if any(not result.is_error for result in results) else "I could not find out:"
    practice = _PRACTICE if any("practice" in result.content.lower() for result in results) else ""
    return f"{head}\n\n" + "\n".join(lines) + practice


def _line(call: ToolCall, result: ToolMessage) -> str:
    arguments = _object(call.arguments)
    about = " ".join(str(value) for value in arguments.values()) or call.name
    if result.is_error:
        return f"**{about}**: {call.name} failed: {result.content}"
    return f"**{about}**: {_plain(result.content)}"


def _plain(content: str) -> str:
    """`{"price": 1.5, "currency": "USD"}` → `price 1.5, currency USD`."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return content
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name.replace('_', ' ')} {_short(item)}" for name, item in value.items())


def _short(item: Any) -> str:
    return item if isinstance(item, str) else orjson.dumps(item).decode()


def _object(arguments: str) -> dict[str, Any]:
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
