"""Redaction: the secret values that this process knows, and text without them.

Whoever reads a secret says so with `remember`: settings, Secrets Manager, the credentials that sign a request. Whoever
lets text out, to callers, models, stores or the log, passes it through one of the other functions. There is one list
for the process, as there is one log.
"""

import json
import re
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar
from urllib.parse import quote, quote_plus, unquote

import msgspec
import orjson

from chat.messages import (
    AssistantMessage,
    Image,
    Message,
    Reasoning,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    UserMessage,
)

__all__ = [
    "LEAST_CHARS",
    "MASK",
    "StreamRedactor",
    "beginning",
    "data",
    "forget",
    "message",
    "messages",
    "remember",
    "secrets_in",
    "secrets_in_address",
    "text",
]

MASK: Final = "[redacted]"

LEAST_CHARS: Final = 7
"""Shorter values are placeholders, such as `x` or `ollama`: to mask them would garble ordinary text."""

BEGINNING_CHARS: Final = 4
"""So much of a secret at the end of a piece of a stream is held back. Fewer characters end too many ordinary pieces."""

MOST_VALUES: Final = 10_000
"""A secret of 64 KB with the keys of all callers has fewer; of values that rotate, the oldest are forgotten."""


S = TypeVar("S", bound=msgspec.Struct)


class _Known:
    """What the module owns: every value, and what to look for, the longest first."""

    lock = threading.Lock()
    values: dict[str, None] = {}  # noqa: RUF012  (an ordered set, and the only one)
    texts: tuple[str, ...] = ()
    datas: tuple[bytes, ...] = ()
    beginnings: tuple[tuple[str, str], ...] = ()
    longest = 0


def remember(*values: str | None) -> None:
    """Mask these values from now on. Those with fewer than LEAST_CHARS characters are left alone. For any thread."""
    new = {value.strip(): None for value in values if value and len(value.strip()) >= LEAST_CHARS}
    with _Known.lock:
        if not new.keys() <= _Known.values.keys():
            known = [*(value for value in _Known.values if value not in new), *new]
            _set(known[-MOST_VALUES:])


def forget() -> None:
    """Know no secret any more: for tests, which share a process."""
    with _Known.lock:
        _set(())


def secrets_in(value: str) -> Iterator[str]:
    """The values to remember of a secret: a key by itself, JSON with keys in its values, an address with a password.

    Of JSON that names what is secret, such as a database's with user, host and password, the rest is left alone.
    """
    try:
        stored = orjson.loads(value)
    except orjson.JSONDecodeError:
        stored = None
    for leaf in _leaves(stored) if isinstance(stored, dict | list) else [value]:
        yield leaf
        yield from secrets_in_address(leaf)


def secrets_in_address(value: str) -> Iterator[str]:
    """The values to remember of text that is no secret but may have addresses in it: passwords, keys in queries."""
    for match in _IN_ADDRESS.finditer(value) if "://" in value else ():
        found = match["password"] or match["value"]
        yield found
        yield unquote(found)


def text(text: str) -> str:
    """A text without the secrets; the same object where there are none."""
    for secret in _Known.texts:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def beginning(text_: str, limit: int) -> str:
    """The first `limit` characters without the secrets, and without half of one at the cut."""
    return text(text_[: limit + _Known.longest])[:limit]


def data(data: bytes) -> bytes:
    """Bytes in UTF-8, such as JSON text, without the secrets."""
    for secret in _Known.datas:
        if secret in data:
            data = data.replace(secret, _MASK_BYTES)
    return data


def message(message: Message) -> Message:
    """A message without the secrets. What a provider signed or sealed stays as it is."""
    match message:
        case SystemMessage():
            return _with(message, text=text(message.text))
        case ToolMessage():
            return _with(message, content=text(message.content))
        case UserMessage() | AssistantMessage():
            return _with(message, parts=tuple(map(_part, message.parts)))


def messages(messages: Iterable[Message]) -> tuple[Message, ...]:
    """A history without the secrets."""
    return tuple(map(message, messages)) if _Known.texts else tuple(messages)


class StreamRedactor:
    """A text that comes in pieces, without the secrets, wherever it is cut.

    What may be the beginning of a secret is held back until the next piece has shown whether it is one. The first
    BEGINNING_CHARS - 1 characters of a secret may go out, if they came in pieces of their own.
    """

    __slots__ = ("_before", "_held")

    def __init__(self) -> None:
        self._before = ""  # the end of what has gone out: a secret may have begun there
        self._held = ""

    def feed(self, piece: str) -> str:
        """What may go out now."""
        if not _Known.texts:
            return piece
        begun = len(self._before)
        whole = self._before + self._held + piece
        near = [secret for beginning, secret in _Known.beginnings if beginning in whole]
        whole = _masked(whole, near, begun)
        end = len(whole) - min(max((_overlap(whole, secret) for secret in near), default=0), len(whole) - begun)
        self._before, self._held = whole[max(0, end - _Known.longest) : end], whole[end:]
        return whole[begun:end]

    def close(self) -> str:
        """The text has ended: what was held back was no secret."""
        held, self._before, self._held = self._held, "", ""
        return held


# Private functions

_MASK_BYTES: Final = MASK.encode()
_NAMES: Final = "key|token|secret|passw|signature|credential"
_SECRET_NAME: Final = re.compile(_NAMES, re.IGNORECASE)
_IN_ADDRESS: Final = re.compile(
    rf"://[^\s/@:]*:(?P<password>[^\s/@]+)@|[?&][^\s=&#]*(?:{_NAMES})[^\s=&#]*=(?P<value>[^\s&#,]+)", re.IGNORECASE
)


def _set(values: Iterable[str]) -> None:
    _Known.values = dict.fromkeys(values)
    forms = {form for value in _Known.values for form in _forms(value)}
    _Known.texts = tuple(sorted(forms, key=lambda form: (-len(form), form)))
    _Known.datas = tuple(form.encode("utf-8", "surrogatepass") for form in _Known.texts)
    _Known.beginnings = tuple((form[:BEGINNING_CHARS], form) for form in _Known.texts)
    _Known.longest = max(map(len, forms), default=0)


def _forms(value: str) -> set[str]:
    """As it is, and as it stands in JSON, in JSON within JSON, in addresses and in a `repr`; most have one form."""
    in_json = json.dumps(value, ensure_ascii=False)[1:-1]
    return {
        value,
        in_json,
        json.dumps(value)[1:-1],
        json.dumps(in_json, ensure_ascii=False)[1:-1],
        quote(value, errors="surrogatepass"),
        quote(value, safe="", errors="surrogatepass"),
        quote_plus(value, errors="surrogatepass"),
        repr(value)[1:-1],
    }


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case str() | int():
            yield str(value)
        case dict():
            for name in list(filter(_SECRET_NAME.search, value)) or value:
                yield from _leaves(value[name])
        case list():
            for inner in value:
                yield from _leaves(inner)


def _masked(whole: str, secrets: Iterable[str], begun: int) -> str:
    """The text without these secrets. Of one that began before `begun` only what follows can still be masked."""
    for secret in secrets:
        at = whole.find(secret, max(0, begun - len(secret) + 1))
        while at >= 0:
            kept = whole[: max(at, begun)] + MASK
            whole = kept + whole[at + len(secret) :]
            at = whole.find(secret, len(kept))
    return whole


def _overlap(whole: str, secret: str) -> int:
    """How many characters at the end may be the beginning of this secret."""
    beginning = secret[:BEGINNING_CHARS]
    at = whole.find(beginning, max(0, len(whole) - len(secret) + 1))
    while at >= 0 and not secret.startswith(whole[at:]):
        at = whole.find(beginning, at + 1)
    return len(whole) - at if at >= 0 else 0


def _part(part: Any) -> Any:
    match part:
        case Text() | Reasoning():
            return _with(part, text=text(part.text))
        case ToolCall():
            return _with(part, arguments=text(part.arguments))
        case Image():
            return _with(part, url=text(part.url))


def _with(struct: S, **fields: object) -> S:
    """With these fields; the same object where they are what it has."""
    if all(getattr(struct, name) == value for name, value in fields.items()):
        return struct
    return msgspec.structs.replace(struct, **fields)
