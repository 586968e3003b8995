"""Redacts text: replaces the secret values that this process knows.

Whoever reads a secret says so with `register`: settings, Secrets Manager, the credentials that sign a request. Whoever
lets text out, to callers, models, stores or the log, passes it through one of the other functions. There is one list
for the process, as there is one log.
"""

import json
import threading
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, quote_plus

__all__ = [
    "MASK",
    "MIN_CHARS",
    "StreamRedactor",
    "clear",
    "forms_of",
    "redact",
    "redact_bytes",
    "redact_start",
    "register",
]

MASK: Final = "[redacted]"

MIN_CHARS: Final = 7
"""Shorter values are placeholders, such as `x` or `ollama`: to mask them would garble ordinary text."""

MAX_VALUES: Final = 10_000
"""A secret of 64 KB with the keys of all callers has fewer; of values that rotate, the oldest are forgotten."""

_GRAM: Final = 4
"""A secret is looked for by pieces of so many characters; so much of one at the end of a read is held back. A shorter
beginning ends too many ordinary reads."""

_STRIDE: Final = MIN_CHARS - _GRAM + 1
"""Wherever a secret stands, one of its first `_STRIDE` pieces begins at a multiple of this."""

_FEW: Final = 32
"""So many secrets are faster looked for one by one: 4 µs each in 32 KB, against 0.7 ms by their pieces."""


class _Index(NamedTuple):
    """What is looked for: every form of every secret, the longest first, and by its first pieces."""

    forms: tuple[str, ...] = ()
    grams: Mapping[str, list[str]] = {}
    longest: int = 0


class _Known:
    """What the module owns. The index is replaced as a whole, since other threads read it."""

    lock = threading.Lock()
    values: tuple[str, ...] = ()
    index = _Index()


def register(*values: str | None) -> None:
    """Mask these values from now on. Those with fewer than MIN_CHARS characters are left alone. For any thread."""
    new = dict.fromkeys(value.strip() for value in values if value and len(value.strip()) >= MIN_CHARS)
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


def redact_bytes(data: bytes) -> bytes:
    """Bytes in UTF-8, such as JSON text, without the secrets; the same object where there are none."""
    if not _Known.index.forms:
        return data
    text = data.decode("utf-8", "surrogateescape")
    clean = redact(text)
    return data if clean is text else clean.encode("utf-8", "surrogateescape")


def redact_start(text: str, limit: int) -> str:
    """The first `limit` characters without the secrets, and without half of one at the cut."""
    return redact(text[: limit + _Known.index.longest])[:limit]


def forms_of(value: str) -> set[str]:
    """A value as it is, and as it stands in JSON, in JSON within JSON, in addresses and in a `repr`."""
    in_json, in_ascii = json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1]
    return {
        value,
        in_json,
        in_ascii,
        in_json.replace("/", "\\/"),
        in_ascii.replace("/", "\\/"),
        json.dumps(in_json, ensure_ascii=False)[1:-1],
        json.dumps(in_ascii)[1:-1],
        quote(value, errors="surrogatepass"),
        quote(value, safe="", errors="surrogatepass"),
        quote_plus(value, errors="surrogatepass"),
        repr(value)[1:-1],
    }


class StreamRedactor:
    """A text that comes in pieces, without the secrets, wherever it is cut.

    What may be the beginning of a secret is held back until the next piece has shown whether it is one. Up to three
    characters of a secret may go out, if they came in pieces of their own.
    """

    __slots__ = ("_before", "_held", "has_masked")

    def __init__(self) -> None:
        self.has_masked = False
        """Whether what went out is not what came in, from its beginning or the last `close`."""
        self._before = ""  # the end of what has gone out: a secret may have begun there
        self._held = ""

    def feed(self, piece: str) -> str:
        """What may go out now."""
        index = _Known.index
        if not index.forms:
            return piece
        begun = len(self._before)
        whole = self._before + self._held + piece
        near = _near(whole, index)
        for secret in near:
            whole = self._masked(whole, secret, begun)
        end = len(whole) - min(max((_overlap(whole, secret) for secret in near), default=0), len(whole) - begun)
        self._before, self._held = whole[max(0, end - index.longest) : end], whole[end:]
        return whole[begun:end]

    def close(self) -> str:
        """The text has ended: what was held back was no secret."""
        held = self._held
        self.has_masked, self._before, self._held = False, "", ""
        return held

    def _masked(self, whole: str, secret: str, begun: int) -> str:
        """Of a secret that began before `begun`, only what follows can still be masked."""
        at = whole.find(secret, max(0, begun - len(secret) + 1))
        while at >= 0:
            self.has_masked = True
            kept = whole[: max(at, begun)] + MASK
            whole = kept + whole[at + len(secret) :]
            at = whole.find(secret, len(kept))
        return whole


# Private functions


def _index(values: Iterable[str]) -> _Index:
    forms = tuple(sorted({form for value in values for form in forms_of(value)}, key=lambda form: (-len(form), form)))
    grams: dict[str, list[str]] = {}
    for form in forms:
        for start in range(_STRIDE):
            grams.setdefault(form[start : start + _GRAM], []).append(form)
    return _Index(forms, grams, max(map(len, forms), default=0))


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
    if len(index.forms) <= _FEW:
        return [form for form in index.forms if form[:_GRAM] in whole]
    pieces = {whole[at : at + _GRAM] for at in range(len(whole) - _GRAM + 1)}
    found = {form for gram in index.grams.keys() & pieces for form in index.grams[gram]}
    return sorted(found, key=len, reverse=True)


def _overlap(whole: str, secret: str) -> int:
    """How many characters at the end may be the beginning of this secret."""
    beginning = secret[:_GRAM]
    at = whole.find(beginning, max(0, len(whole) - len(secret) + 1))
    while at >= 0 and not secret.startswith(whole[at:]):
        at = whole.find(beginning, at + 1)
    return len(whole) - at if at >= 0 else 0
