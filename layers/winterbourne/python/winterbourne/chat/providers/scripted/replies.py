"""Composes the replies of the scripted provider: tool results in, Markdown out. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import orjson

from winterbourne.chat.core.messages import ToolCall, ToolMessage

__all__ = ["GREETING", "compose_reply", "parse_json_object"]

ResultData: TypeAlias = dict[str, Any]

GREETING: Final = (
    "I am the scripted model: no network, no key, the same words every time. I can look up share prices, the weather,"
    " exchange rates and the time, and do sums. Try: *Compare AAPL and MSFT, the weather in Paris and Lima, and"
    " 1200 EUR in USD*. Set `MODEL_PROVIDER` to talk to a real model."
)
_STUB_DATA_NOTE: Final = "\n\nSome of these are practice data, made up on this machine."


def compose_reply(calls: Sequence[ToolCall], results: Sequence[ToolMessage]) -> str:
    """One line per result, in the order of the calls; failures as reported; a note if there is practice data."""
    by_id = {result.tool_call_id: result for result in results}
    lines = [f"- {_format_line(call, by_id[call.id])}" for call in calls if call.id in by_id]
    head = "Here is what I found:" if any(not result.is_error for result in results) else "I could not find out:"
    stub_data_note = _STUB_DATA_NOTE if any("practice" in result.content.lower() for result in results) else ""
    return f"{head}\n\n" + "\n".join(lines) + stub_data_note


def parse_json_object(text: str) -> dict[str, Any]:
    """Parse JSON text; an empty object if it is not a JSON object, or is nested too deeply to be serialized again."""
    try:
        value = orjson.loads(text or "{}")
        orjson.dumps(value)  # orjson parses 1024 levels of nesting but serializes only 254
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return {}
    return value if isinstance(value, dict) else {}


def _format_line(call: ToolCall, result: ToolMessage) -> str:
    subject = " ".join(str(value) for value in parse_json_object(call.arguments).values()) or call.name
    if result.is_error:
        return f"**{subject}**: {call.name} failed: {result.content}"
    data = parse_json_object(result.content)
    try:
        return _FORMATTERS[call.name](data)
    except (KeyError, TypeError, ValueError):
        return f"**{subject}**: {_format_generic(data) or result.content}"


def _format_quote(data: ResultData) -> str:
    change = float(data["change"])
    moved = f"{'up' if change >= 0 else 'down'} {abs(change):.2f} ({abs(float(data['change_percent'])):.1f} %)"
    return f"**{data['symbol']}** is at {float(data['price']):.2f}, {moved} since the last close."


def _format_weather(data: ResultData) -> str:
    felt = f"feels like {data['feels_like_c']} °C"
    return f"**{data['city']}**, {data['country']}: {data['temperature_c']} °C and {data['conditions']}, {felt}."


def _format_conversion(data: ResultData) -> str:
    amount = f"{float(data['amount']):,.2f} {data['from_currency']}"
    return f"{amount} is **{float(data['result']):,.2f} {data['to_currency']}**, at a rate of {data['rate']}."


def _format_calculation(data: ResultData) -> str:
    return f"`{data['expression']}` is **{data['result']}**."


def _format_time(data: ResultData) -> str:
    return f"In {data['timezone']} it is **{data['time'][11:16]}** on {data['weekday']}, {data['time'][:10]}."


_FORMATTERS: Final[Mapping[str, Callable[[ResultData], str]]] = {
    "get_stock_quote": _format_quote,
    "get_weather": _format_weather,
    "convert_currency": _format_conversion,
    "calculate": _format_calculation,
    "current_time": _format_time,
}


def _format_generic(data: ResultData) -> str:
    """`{"price": 1.5, "currency": "USD"}` → `price 1.5, currency USD`; for tools without a formatter."""
    return ", ".join(f"{name.replace('_', ' ')} {_format_value(item)}" for name, item in data.items())


def _format_value(item: Any) -> str:
    return item if isinstance(item, str) else orjson.dumps(item).decode()
