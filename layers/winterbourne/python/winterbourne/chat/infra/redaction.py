"""Redacts text: replaces the secret values that this process knows.

Whoever reads a secret says so with `register`: settings, Secrets Manager, the credentials that sign a request. Whoever
lets text out, to callers, models, stores or the log, passes it through one of the other functions. There is one list
for the process, as there is one log.
"""

import base64
import json
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote, quote_plus

import msgspec

__all__ = [
    "MASK",
    "MIN_CHARS",
    "StreamRedactor",
    "clear",
    "encoded_forms",
    "redact",
    "redact_json",
    "redact_json_text",
    "redact_line",
    "redact_prefix",
    "register",
]

MASK: Final = "[redacted]"

MIN_CHARS: Final = 7
"""Shorter values are placeholders, such as `x` or `ollama`: to mask them would garble ordinary text."""

MAX_VALUES: Final = 10_000
"""A secret of 64 KB with the keys of all callers has fewer; of values that rotate, the oldest are forgotten."""

_MIN_PREFIX_CHARS: Final = 8
"""So much of the beginning of a secret is no accident."""

_MIN_LINE_CHARS: Final = 16
"""Of a secret of several lines, such as a private key, each so long is one by itself: output comes line by line."""

_NGRAM_CHARS: Final = 4
"""A secret is looked for by pieces of so many characters; so much of one at the end of a read is held back. A shorter
beginning ends too many ordinary reads."""

_STRIDE: Final = MIN_CHARS - _NGRAM_CHARS + 1
"""Wherever a secret stands, one of its last `_STRIDE` pieces begins at a multiple of this."""

_MAX_LINEAR_SCAN: Final = 100
"""So many forms are faster looked for one by one: 4 µs each in 32 KB, against 0.7 ms by their pieces."""


class _Index(msgspec.Struct, frozen=True):
    """What is looked for: every form of every secret, the longest first, by its beginning, and by its last pieces."""

    forms: tuple[str, ...] = ()
    prefixes: Mapping[str, list[str]] = {}
    ngrams: Mapping[str, list[str]] = {}


class _Registry:
    """What the module owns. The index is replaced as a whole, since other threads read it."""

    lock = threading.Lock()
    values: tuple[str, ...] = ()
    index = _Index()


def register(*values: str | None) -> None:
    """Mask these values from now on. Those with fewer than MIN_CHARS characters are left alone. For any thread."""
    stripped = (value.strip() for value in values if value)
    new = dict.fromkeys(value for value in stripped if len(value) >= MIN_CHARS and value not in MASK)
    with _Registry.lock:
        if not new.keys() <= set(_Registry.values):
            others = (value for value in _Registry.values if value not in new)
            _Registry.values = (*others, *new)[-MAX_VALUES:]
            _Registry.index = _build_index(_Registry.values)


def clear() -> None:
    """Know no secret any more: for tests, which share a process."""
    with _Registry.lock:
        _Registry.values, _Registry.index = (), _Index()


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
    if not _Registry.index.forms:
        return text
    before = text.decode("utf-8", "surrogateescape")
    after = redact_json_text(before)
    return text if after is before else after.encode("utf-8", "surrogateescape")


def redact_json_text(text: str) -> str:
    """The same for JSON text that is not encoded. What is no secret stays as it is written, letter by letter."""
    plain = redact(text)
    if plain is text:
        return text
    in_strings = _JSON_STRING.sub(_redact_json_string, text)
    return in_strings if _is_json(text) else plain


def redact_line(line: str) -> str:
    """A line of the log, which may be JSON, without the secrets."""
    return redact_json_text(line) if line.startswith("{") else redact(line)


def redact_prefix(text: str, limit: int) -> str:
    """The first `limit` characters without the secrets, or somewhat fewer: what begins one at the cut is left out."""
    return (redact(text) if len(text) <= limit else StreamRedactor().feed(text[:limit]))[:limit]


def encoded_forms(value: str) -> set[str]:
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
        _PERCENT_ESCAPE.sub(lambda escape: escape[0].lower(), quote(data, safe="")),
        repr(value)[1:-1],
        ascii(value)[1:-1],
        in_base64,
        *(line for line in value.splitlines() if len(line) >= _MIN_LINE_CHARS and not line.startswith("-----")),
    }


class StreamRedactor:
    """A text that comes in pieces, without the secrets, wherever it is cut.

    What may be the beginning of a secret is held back until the next piece has shown whether it is one. Up to three
    characters of a secret may go out, if they came in pieces of their own.

    Args:
        in_json: Whether the text is JSON, in which digits may be a number, and a number is no secret.
    """

    __slots__ = ("_in_json", "_lookbehind", "has_redacted", "held_back")

    def __init__(self, *, in_json: bool = False) -> None:
        self._in_json = in_json
        self.has_redacted = False
        """Whether what went out is not what came in."""
        self.held_back = ""
        """What is held back."""
        self._lookbehind = ""  # the end of what came in and is not held, as far as a secret may have begun there

    def feed(self, piece: str) -> str:
        """What may go out now."""
        index = _Registry.index
        if not index.forms:
            return piece
        begun = len(self._lookbehind)
        whole = self._lookbehind + self.held_back + piece
        near = self._possible_secrets(whole, index)
        safe = _safe_end(whole, near) if near else len(whole)
        end = max(begun, safe)
        out = self._mask(whole[:end], near, begun) if near else whole[begun:]
        self._lookbehind, self.held_back = whole[max(0, min(safe, end - _NGRAM_CHARS + 1)) : end], whole[end:]
        return out

    def flush(self) -> str:
        """What is held back, since something else follows: masked if it is a secret or most probably begins one.

        The text may go on with `feed`: a secret that goes on is recognized.
        """
        whole = self._lookbehind + self.held_back
        near = self._possible_secrets(whole, _Registry.index)
        out = self._mask(whole, near, len(self._lookbehind))
        if out == self.held_back and len(whole) - _safe_end(whole, near) >= _MIN_PREFIX_CHARS:
            out, self.has_redacted = MASK, True
        self._lookbehind, self.held_back = whole, ""
        return out

    def _possible_secrets(self, whole: str, index: _Index) -> Sequence[str]:
        near = _prefix_candidates(whole, index)
        return [secret for secret in near if not secret.isdigit()] if self._in_json and near else near

    def _mask(self, whole: str, secrets: Iterable[str], begun: int) -> str:
        """What comes after `begun`. Of a secret that began before it, only what follows can still be masked."""
        out, over = whole[begun:], begun
        for secret in secrets:
            at = whole.find(secret, max(0, begun - len(secret) + 1), begun + len(secret) - 1)
            if 0 <= at < begun:
                over = max(over, at + len(secret))
        clean = (MASK if over > begun else "") + whole[over:]
        for secret in secrets:
            clean = clean.replace(secret, MASK)
        self.has_redacted |= clean != out
        return clean


_PERCENT_ESCAPE: Final = re.compile("%[0-9A-F]{2}")


_JSON_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?', re.DOTALL)


def _redact_json_string(match: re.Match[str]) -> str:
    """A string of JSON text, or a name with its colon. JSON within a string stays JSON too."""
    literal, colon = match[0], match[1] or ""
    try:
        value: str = json.loads(literal.removesuffix(colon), strict=False)
    except ValueError:
        return literal
    if colon and value.replace("_", "").isalpha():
        return literal
    clean = redact_json_text(value) if value[:1] in {"{", "["} else redact(value)
    return literal if clean is value else json.dumps(clean, ensure_ascii=literal.isascii()) + colon


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return False
    return True


def _build_index(values: Iterable[str]) -> _Index:
    forms = tuple(
        sorted({form for value in values for form in encoded_forms(value)}, key=lambda form: (-len(form), form))
    )
    ngrams: dict[str, list[str]] = {}
    for form in forms:
        # From the end: keys of one kind begin alike, and each ends in its own way.
        for end in range(len(form), len(form) - _STRIDE, -1):
            ngrams.setdefault(form[end - _NGRAM_CHARS : end], []).append(form)
    prefixes: dict[str, list[str]] = {}
    for form in forms:
        prefixes.setdefault(form[:_NGRAM_CHARS], []).append(form)
    return _Index(forms, prefixes, ngrams)


def _candidates(text: str) -> Iterable[str]:
    """The secrets that may stand in a text, the longest first."""
    index = _Registry.index
    if len(index.forms) <= _MAX_LINEAR_SCAN:
        return index.forms
    pieces = {text[at : at + _NGRAM_CHARS] for at in range(0, len(text), _STRIDE)}
    found = {form for gram in index.ngrams.keys() & pieces for form in index.ngrams[gram]}
    return sorted(found, key=len, reverse=True)


def _prefix_candidates(whole: str, index: _Index) -> Sequence[str]:
    """The secrets whose beginning stands in a text."""
    prefixes: Iterable[str] = index.prefixes
    if len(index.prefixes) > _MAX_LINEAR_SCAN:
        prefixes = index.prefixes.keys() & {
            whole[at : at + _NGRAM_CHARS] for at in range(len(whole) - _NGRAM_CHARS + 1)
        }
    found = [head for head in prefixes if head in whole]
    return sorted((form for head in found for form in index.prefixes[head]), key=len, reverse=True) if found else ()


def _safe_end(whole: str, secrets: Iterable[str]) -> int:
    """Up to where a text may go out: short of what may begin a secret, and of a whole one that reaches into that."""
    end = len(whole) - max((_overlap(whole, secret) for secret in secrets), default=0)
    while cut := [at for secret in secrets if 0 <= (at := whole.find(secret, max(0, end - len(secret) + 1))) < end]:
        end = min(cut)
    return end


def _overlap(whole: str, secret: str) -> int:
    """How many characters at the end may be the beginning of this secret."""
    beginning = secret[:_NGRAM_CHARS]
    at = whole.find(beginning, max(0, len(whole) - len(secret) + 1))
    while at >= 0 and not secret.startswith(whole[at:]):
        at = whole.find(beginning, at + 1)
    return len(whole) - at if at >= 0 else 0
