"""Redaction: masks the secret values that this process knows in text, JSON, log lines and streams.

Code that reads a secret registers it with `register`: settings, Secrets Manager, the credentials that sign requests.
Code that sends text to callers, models, stores or the log passes it through one of the other functions. The registry is
process-wide, as the log is.
"""

import base64
import contextlib
import json
import re
import threading
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote, quote_plus

import msgspec

__all__ = [
    "MASK",
    "MIN_CHARS",
    "Known",
    "StreamRedactor",
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
"""Shorter values are placeholders such as `x` or `ollama`; masking them would garble ordinary text."""

MAX_VALUES: Final = 10_000
"""A 64 KB secret with the keys of all callers has fewer. If rotation exceeds the limit, the oldest are forgotten."""

_MIN_PREFIX_CHARS: Final = 8
"""A match of this many leading characters of a secret is not a coincidence."""

_MIN_LINE_CHARS: Final = 16
"""Lines of a multi-line secret (a private key) are also masked singly from this length on: output comes by lines."""

_NGRAM_CHARS: Final = 4
"""Length of the n-grams by which secrets are looked up. At the end of a read, a beginning of a secret is held back from
this length on; too many ordinary reads end with a shorter one."""

_STRIDE: Final = MIN_CHARS - _NGRAM_CHARS + 1
"""Wherever a secret occurs in a text, one of its last `_STRIDE` n-grams begins at a multiple of this."""

_MAX_LINEAR_SCAN: Final = 100
"""Up to this many forms are searched one by one, which is faster: 4 µs each in 32 KB, against 0.7 ms by n-grams."""


class _Index(msgspec.Struct, frozen=True):
    """All encoded forms of all secrets, the longest first, and indexes of them by prefix and by their last n-grams."""

    forms: tuple[str, ...] = ()
    prefixes: dict[str, list[str]] = {}
    ngrams: dict[str, list[str]] = {}


class Known:
    """The secrets known now. The index is replaced as a whole because other threads read it without the lock.

    While `index.forms` is empty there is nothing to redact, and no function here need be called.
    """

    lock = threading.Lock()
    values: tuple[str, ...] = ()
    index = _Index()


def register(*values: str | None) -> None:
    """Mask these values from now on. Values shorter than MIN_CHARS are ignored. Thread-safe."""
    stripped = (value.strip() for value in values if value)
    new = dict.fromkeys(value for value in stripped if len(value) >= MIN_CHARS and value not in MASK)
    with Known.lock:
        if not new.keys() <= set(Known.values):
            others = (value for value in Known.values if value not in new)
            Known.values = (*others, *new)[-MAX_VALUES:]
            Known.index = _build_index(Known.values)


def redact(text: str) -> str:
    """The text with secrets masked; the same object if it contains none."""
    for secret in _candidates(text) if Known.index.forms else ():
        if secret in text:
            text = text.replace(secret, MASK)
    return text


def redact_json(text: bytes) -> bytes:
    """Mask secrets in the strings of a JSON text (UTF-8), which stays valid JSON; other text is masked as by `redact`.

    Numbers are not masked, nor are field names of letters only: a secret that is a word must not rename fields.
    """
    if not Known.index.forms:
        return text
    before = text.decode("utf-8", "surrogateescape")
    after = redact_json_text(before)
    return text if after is before else after.encode("utf-8", "surrogateescape")


def redact_json_text(text: str) -> str:
    """Like `redact_json`, for a `str`. Everything but the secrets stays exactly as it is written."""
    plain = redact(text)
    if plain is text:
        return text
    in_strings = _JSON_STRING.sub(_redact_json_string, text)
    return in_strings if _is_json(text) else plain


def redact_line(line: str) -> str:
    """Mask secrets in a log line, which may be JSON."""
    return redact_json_text(line) if line.startswith("{") else redact(line)


def redact_prefix(text: str, limit: int) -> str:
    """The first `limit` characters, redacted; what may be the beginning of a secret at the cut is left out."""
    return (redact(text) if len(text) <= limit else StreamRedactor().feed(text[:limit]))[:limit]


def encoded_forms(value: str) -> set[str]:
    """A value as it is, and as it is written in JSON, JSON within JSON, URLs, a `repr` and base64."""
    in_json = {json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1]}
    data = value.encode("utf-8", "surrogatepass")
    in_url = quote(data, safe="")
    in_base64 = base64.b64encode(data).decode()[: len(data) // 3 * 4]  # the rest depends on what follows the value
    return {
        value,
        *in_json,
        *(text.replace("/", "\\/") for text in in_json),
        *(json.dumps(text, ensure_ascii=False)[1:-1] for text in in_json),
        quote(data),
        quote_plus(data),
        in_url,
        _PERCENT_ESCAPE.sub(lambda escape: escape[0].lower(), in_url),
        repr(value)[1:-1],
        ascii(value)[1:-1],
        in_base64,
        *(line for line in value.splitlines() if len(line) >= _MIN_LINE_CHARS and not line.startswith("-----")),
    }


class StreamRedactor(msgspec.Struct, kw_only=True):
    """Redacts a text that arrives in pieces, wherever it is cut.

    What may be the beginning of a secret is held back until the next piece shows whether it is one. Up to three
    characters of a secret may get out, if they arrived in pieces of their own.

    Attributes:
        in_json: Whether the text is JSON. If so, secrets of digits only are not masked: they may be numbers.
        has_redacted: Whether anything has been masked.
        held_back: Text that is held back because it may be the beginning of a secret.
    """

    in_json: bool = False
    has_redacted: bool = False
    held_back: str = ""
    _lookbehind: str = ""  # the end of the text already released, as far as a secret may begin in it

    def feed(self, piece: str) -> str:
        """Take the next piece; return the text that can be released now."""
        index = Known.index
        if not index.forms:
            return piece
        released = len(self._lookbehind)
        whole = self._lookbehind + self.held_back + piece
        candidates = self._possible_secrets(whole, index)
        safe = _safe_end(whole, candidates) if candidates else len(whole)
        end = max(released, safe)
        out = self._mask(whole[:end], candidates, released) if candidates else whole[released:]
        self._lookbehind, self.held_back = whole[max(0, min(safe, end - _NGRAM_CHARS + 1)) : end], whole[end:]
        return out

    def flush(self) -> str:
        """What is held back because something else follows: masked if it is, or very probably begins, a secret.

        More text may follow with `feed`: a secret that continues there is still recognized.
        """
        whole = self._lookbehind + self.held_back
        candidates = self._possible_secrets(whole, Known.index)
        out = self._mask(whole, candidates, len(self._lookbehind))
        if out == self.held_back and len(whole) - _safe_end(whole, candidates) >= _MIN_PREFIX_CHARS:
            out, self.has_redacted = MASK, True
        self._lookbehind, self.held_back = whole, ""
        return out

    def _possible_secrets(self, whole: str, index: _Index) -> Sequence[str]:
        candidates = _prefix_candidates(whole, index)
        return [secret for secret in candidates if not secret.isdigit()] if self.in_json else candidates

    def _mask(self, whole: str, secrets: Iterable[str], released: int) -> str:
        """The text after `released`, masked, including the rest of a secret that began before it."""
        out, end = whole[released:], released
        for secret in secrets:
            at = whole.find(secret, max(0, released - len(secret) + 1), released + len(secret) - 1)
            if 0 <= at < released:
                end = max(end, at + len(secret))
        clean = (MASK if end > released else "") + whole[end:]
        for secret in secrets:
            clean = clean.replace(secret, MASK)
        self.has_redacted |= clean != out
        return clean


_PERCENT_ESCAPE: Final = re.compile("%[0-9A-F]{2}")
_JSON_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"(\s*:)?', re.DOTALL)


def _redact_json_string(match: re.Match[str]) -> str:
    """Mask secrets in one JSON string, or in a field name with its colon. JSON within a string stays valid too."""
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
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(text, strict=False, parse_int=str, parse_float=str)
        return True
    return False


def _build_index(values: Iterable[str]) -> _Index:
    forms = {form for value in values for form in encoded_forms(value)}
    index = _Index(tuple(sorted(forms, key=lambda form: (-len(form), form))), {}, {})
    for form in index.forms:
        index.prefixes.setdefault(form[:_NGRAM_CHARS], []).append(form)
        # From the end: keys of one kind begin alike and differ at the end.
        for end in range(len(form), len(form) - _STRIDE, -1):
            index.ngrams.setdefault(form[end - _NGRAM_CHARS : end], []).append(form)
    return index


def _candidates(text: str) -> Iterable[str]:
    """The secrets that may occur in a text, the longest first."""
    index = Known.index
    if len(index.forms) <= _MAX_LINEAR_SCAN:
        return index.forms
    ngrams = {text[at : at + _NGRAM_CHARS] for at in range(0, len(text), _STRIDE)}
    found = {form for ngram in index.ngrams.keys() & ngrams for form in index.ngrams[ngram]}
    return sorted(found, key=len, reverse=True)


def _prefix_candidates(whole: str, index: _Index) -> Sequence[str]:
    """The secrets whose beginning occurs in a text, the longest first."""
    prefixes: Iterable[str] = index.prefixes
    if len(index.prefixes) > _MAX_LINEAR_SCAN:
        ngrams = {whole[at : at + _NGRAM_CHARS] for at in range(len(whole) - _NGRAM_CHARS + 1)}
        prefixes = index.prefixes.keys() & ngrams
    found = [prefix for prefix in prefixes if prefix in whole]
    return sorted((form for prefix in found for form in index.prefixes[prefix]), key=len, reverse=True) if found else ()


def _safe_end(whole: str, secrets: Iterable[str]) -> int:
    """Where to cut a text: before what may begin a secret, and before a whole secret that overlaps the cut."""
    end = len(whole) - max((_overlap(whole, secret) for secret in secrets), default=0)
    while cut := [at for secret in secrets if 0 <= (at := whole.find(secret, max(0, end - len(secret) + 1))) < end]:
        end = min(cut)
    return end


def _overlap(whole: str, secret: str) -> int:
    """How many characters at the end may be the beginning of this secret."""
    prefix = secret[:_NGRAM_CHARS]
    at = whole.find(prefix, max(0, len(whole) - len(secret) + 1))
    while at >= 0 and not secret.startswith(whole[at:]):
        at = whole.find(prefix, at + 1)
    return len(whole) - at if at >= 0 else 0
