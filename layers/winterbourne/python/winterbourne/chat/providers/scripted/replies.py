"""What the scripted model answers: results of tools in, Markdown out. Pure; knows nothing of streams."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import orjson

from winterbourne.chat.core.messages import ToolCall, ToolMessage

__all__ = ["GREETING", "as_object", "reply"]

Told: TypeAlias = dict[str, Any]

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


def as_object(text: str) -> dict[str, Any]:
    """The object that JSON text holds; an empty one where it holds none, or one too deep to be written again."""
    try:
        value = orjson.loads(text or "{}")
        orjson.dumps(value)  # reads 1024 levels and writes 254
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return {}
    return value if isinstance(value, dict) else {}


def _line(call: ToolCall, result: ToolMessage) -> str:
    about = " ".join(str(value) for value in as_object(call.arguments).values()) or call.name
    if result.is_error:
        return f"**{about}**: {call.name} failed: {result.content}"
    told = as_object(result.content)
    try:
        return _SENTENCES[call.name](told)
    except (KeyError, TypeError, ValueError):
        return f"**{about}**: {_plain(told) or result.content}"


def _quote(told: Told) -> str:
    change = float(told["change"])
    moved = f"{'up' if change >= 0 else 'down'} {abs(change):.2f} ({abs(float(told['change_percent'])):.1f} %)"
    return f"**{told['symbol']}** is at {float(told['price']):.2f}, {moved} since the last close."


def _weather(told: Told) -> str:
    felt = f"feels like {told['feels_like_c']} °C"
    return f"**{told['city']}**, {told['country']}: {told['temperature_c']} °C and {told['conditions']}, {felt}."


def _conversion(told: Told) -> str:
    amount = f"{float(told['amount']):,.2f} {told['from_currency']}"
    return f"{amount} is **{float(told['result']):,.2f} {told['to_currency']}**, at a rate of {told['rate']}."


def _sum(told: Told) -> str:
    return f"`{told['expression']}` is **{told['result']}**."


def _time(told: Told) -> str:
    return f"In {told['timezone']} it is **{told['time'][11:16]}** on {told['weekday']}, {told['time'][:10]}."


_SENTENCES: Final[Mapping[str, Callable[[Told], str]]] = {
    "get_stock_quote": _quote,
    "get_weather": _weather,
    "convert_currency": _conversion,
    "calculate": _sum,
    "current_time": _time,
}


def _plain(told: Told) -> str:
    """`{"price": 1.5, "currency": "USD"}` → `price 1.5, currency USD`; for tools that the script does not know."""
    return ", ".join(f"{name.replace('_', ' ')} {_short(item)}" for name, item in told.items())


def _short(item: Any) -> str:
    return item if isinstance(item, str) else orjson.dumps(item).decode()
