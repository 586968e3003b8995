"""Redacts text: replaces the secret values that this process knows.

Whoever reads a secret says so with `register`: settings, Secrets Manager, the credentials that sign a request. Whoever
lets text out, to callers, models, stores or the log, passes it through one of the other functions. There is one list
for the process, as there is one log.
"""

import base64
import json
import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, quote_plus

import orjson

__all__ = [
    "MASK",
    "MIN_CHARS",
    "StreamRedactor",
    "clear",
    "forms_of",
    "redact",
    "redact_json",
    "redact_line",
    "redact_start",
    "register",
]

MASK: Final = "[redacted]"

MIN_CHARS: Final = 7
"""Shorter values are placeholders, such as `x` or `ollama`: to mask them would garble ordinary text."""

MAX_VALUES: Final = 10_000
"""A secret of 64 KB with the keys of all callers has fewer; of values that rotate, the oldest are forgotten."""

_TELLING_CHARS: Final = 8
"""So much of the beginning of a secret is no accident."""

_LINE_CHARS: Final = 16
"""Of a secret of several lines, such as a private key, each so long is one by itself: output comes line by line."""

_GRAM: Final = 4
"""A secret is looked for by pieces of so many characters; so much of one at the end of a read is held back. A shorter
beginning ends too many ordinary reads."""

_STRIDE: Final = MIN_CHARS - _GRAM + 1
"""Wherever a secret stands, one of its first `_STRIDE` pieces begins at a multiple of this."""

_FEW: Final = 100
"""So many forms are faster looked for one by one: 4 µs each in 32 KB, against 0.7 ms by their pieces."""


class _Index(NamedTuple):
    """What is looked for: every form of every secret, the longest first, by its beginning, and by its first pieces."""

    forms: tuple[str, ...] = ()
    heads: Mapping[str, list[str]] = {}
    grams: Mapping[str, list[str]] = {}


class _Known:
    """What the module owns. The index is replaced as a whole, since other threads read it."""

    lock = threading.Lock()
    values: tuple[str, ...] = ()
    index = _Index()


def register(*values: str | None) -> None:
    """Mask these values from now on. Those with fewer than MIN_CHARS characters are left alone. For any thread."""
    stripped = (value.strip() for value in values if value)
    new = dict.fromkeys(value for value in stripped if len(value) >= MIN_CHARS and value not in MASK)
    with _Known.lock:
        if not new.keys() <= set(_Known.values):
            kept = (value for value in _Known.values if value not in new)
            _Known.values = (*kept, *new)[-MAX_VALUES:]
            _Known.index = _index(_Known.values)


def clear() -> None:
    """Know no secret any more: for tests, which share a process."""
    with _Known.lock:
        _Known.values, _Known.index = (), _Index()


def redact(text: str) -> str:
    """A text without the secrets; the same object where there are none."""
    for secret in _candidates(text):
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def redact_json(text: bytes) -> bytes:
    """JSON text without the secrets in its strings, still JSON; other bytes in UTF-8 as `redact` leaves them.

    Numbers are no secrets, nor are names of fields that are all letters: a key that is a word must not rename them.
    """
    if not _Known.index.forms:
        return text
    before = text.decode("utf-8", "surrogateescape")
    after = redact(before)
    if after is before:
        return text
    try:
        return orjson.dumps(_redacted(orjson.loads(text)))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
        return after.encode("utf-8", "surrogateescape")


def redact_line(line: str) -> str:
    """A line of the log, which may be JSON, without the secrets."""
    if not line.startswith("{"):
        return redact(line)
    clean = redact_json(line.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    return clean + "\n" if line.endswith("\n") and not clean.endswith("\n") else clean


def redact_start(text: str, limit: int) -> str:
    """The first `limit` characters without the secrets, or somewhat fewer: what begins one at the cut is left out."""
    return (redact(text) if len(text) <= limit else StreamRedactor().feed(text[:limit]))[:limit]


def forms_of(value: str) -> set[str]:
    """A value as it is, and as it stands in JSON, in JSON within JSON, in addresses, in a `repr` and in base64."""
    in_json, in_ascii = json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1]
    data = value.encode("utf-8", "surrogatepass")
    in_base64 = base64.b64encode(data).decode()[: len(data) // 3 * 4]  # what follows it may change the rest
    return {
        value,
        in_json,
        in_ascii,
        in_json.replace("/", "\\/"),
        in_ascii.replace("/", "\\/"),
        json.dumps(in_json, ensure_ascii=False)[1:-1],
        json.dumps(in_ascii)[1:-1],
        quote(data),
        quote(data, safe=""),
        quote_plus(data),
        _ESCAPE.sub(lambda escape: escape[0].lower(), quote(data, safe="")),
        repr(value)[1:-1],
        ascii(value)[1:-1],
        in_base64,
        *(line for line in value.splitlines() if len(line) >= _LINE_CHARS and not line.startswith("-----")),
    }


class StreamRedactor:
    """A text that comes in pieces, without the secrets, wherever it is cut.

    What may be the beginning of a secret is held back until the next piece has shown whether it is one. Up to three
    characters of a secret may go out, if they came in pieces of their own.
    """

    __slots__ = ("_before", "has_masked", "held")

    def __init__(self) -> None:
        self.has_masked = False
        """Whether what went out is not what came in."""
        self.held = ""
        """What is held back."""
        self._before = ""  # the end of what came in and is not held, as far as a secret may have begun there

    def feed(self, piece: str) -> str:
        """What may go out now."""
        index = _Known.index
        if not index.forms:
            return piece
        begun = len(self._before)
        whole = self._before + self.held + piece
        near = _near(whole, index)
        safe = _safe_end(whole, near)
        end = max(begun, safe)
        out = self._masked(whole[:end], near, begun)
        self._before, self.held = whole[max(0, min(safe, end - _GRAM + 1)) : end], whole[end:]
        return out

    def pause(self) -> str:
        """What is held back, since something else follows: masked if it is a secret or most probably begins one.

        The text may go on with `feed`: a secret that goes on is recognized.
        """
        whole = self._before + self.held
        out = self._masked(whole, _near(whole, _Known.index), len(self._before))
        if out == self.held and len(out) >= _TELLING_CHARS:
            out, self.has_masked = MASK, True
        self._before, self.held = whole, ""
        return out

    def _masked(self, whole: str, secrets: Iterable[str], begun: int) -> str:
        """What comes after `begun`. Of a secret that began before it, only what follows can still be masked."""
        for secret in secrets:
            at = whole.find(secret, max(0, begun - len(secret) + 1))
            while at >= 0:
                self.has_masked = True
                kept = whole[: max(at, begun)] + MASK
                whole = kept + whole[at + len(secret) :]
                at = whole.find(secret, len(kept))
        return whole[begun:]


# Private functions

_ESCAPE: Final = re.compile("%[0-9A-F]{2}")


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return redact(value)
        case list():
            return [_redacted(inner) for inner in value]
        case dict():
            return {_redacted_name(name): _redacted(inner) for name, inner in value.items()}
    return value


def _redacted_name(name: str) -> str:
    return name if name.replace("_", "").isalpha() else redact(name)


def _index(values: Iterable[str]) -> _Index:
    forms = tuple(sorted({form for value in values for form in forms_of(value)}, key=lambda form: (-len(form), form)))
    grams: dict[str, list[str]] = {}
    for form in forms:
        for start in range(_STRIDE):
            grams.setdefault(form[start : start + _GRAM], []).append(form)
    heads: dict[str, list[str]] = {}
    for form in forms:
        heads.setdefault(form[:_GRAM], []).append(form)
    return _Index(forms, heads, grams)


def _candidates(text: str) -> Iterable[str]:
    """The secrets that may stand in a text, the longest first."""
    index = _Known.index
    if len(index.forms) <= _FEW:
        return index.forms
    pieces = {text[at : at + _GRAM] for at in range(0, len(text), _STRIDE)}
    found = {form for gram in index.grams.keys() & pieces for form in index.grams[gram]}
    return sorted(found, key=len, reverse=True)


def _near(whole: str, index: _Index) -> Iterable[str]:
    """The secrets whose beginning stands in a text."""
    heads: Iterable[str] = index.heads
    if len(index.heads) > _FEW:
        heads = index.heads.keys() & {whole[at : at + _GRAM] for at in range(len(whole) - _GRAM + 1)}
    near = [form for head in heads if head in whole for form in index.heads[head]]
    return sorted(near, key=len, reverse=True)


def _safe_end(whole: str, secrets: Iterable[str]) -> int:
    """Up to where a text may go out: short of what may begin a secret, and of a whole one that reaches into that."""
    end = len(whole) - max((_overlap(whole, secret) for secret in secrets), default=0)
    while cut := [at for secret in secrets if 0 <= (at := whole.find(secret, max(0, end - len(secret) + 1))) < end]:
        end = min(cut)
    return end


def _overlap(whole: str, secret: str) -> int:
    """How many characters at the end may be the beginning of this secret."""
    beginning = secret[:_GRAM]
    at = whole.find(beginning, max(0, len(whole) - len(secret) + 1))
    while at >= 0 and not secret.startswith(whole[at:]):
        at = whole.find(beginning, at + 1)
    return len(whole) - at if at >= 0 else 0
