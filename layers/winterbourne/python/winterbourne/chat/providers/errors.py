"""Maps a provider's HTTP status or error object to a ModelError.

What the caller can mend has an error class of its own, found by the words of the providers. The error message, for the
log, names the setting to check. The provider's own message is appended if it helps and cannot reveal a secret; it is
never appended for 401 and 403, whose messages quote keys, accounts and roles.
"""

import contextlib
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import orjson

from winterbourne.chat.errors import (
    ModelBusy,
    ModelContentRefused,
    ModelDocumentRefused,
    ModelError,
    ModelGarbled,
    ModelImageRefused,
    ModelInputTooLong,
    ModelMisconfigured,
    ModelRefused,
)
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.backoff import retry_after_s

__all__ = [
    "ErrorHints",
    "any_of",
    "error_for_non_stream_body",
    "error_for_status",
    "is_error",
    "mid_stream_error",
    "parse_body",
    "parse_error_object",
    "raise_if_error",
    "sanitize_message",
    "stop_reason_error",
]


def any_of(phrases: str) -> re.Pattern[str]:
    """A pattern that finds any of the phrases, each on a line of its own, in any case.

    Made when it is needed, and kept by `re`: most processes see no refusal, and all start.
    """
    return re.compile("|".join(phrase.strip() for phrase in phrases.strip().splitlines()), re.IGNORECASE)


_RETRYABLE_STATUSES: Final = frozenset({408, 409, 425, 429})
_RETRYABLE_ERROR: Final = r"""
    overloaded|rate.?limit|throttl|too.?many|timeout|unavailable|server.?error|internal|capacity|model.?stream
    try again
"""
_BILLING_ERROR_CODES: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_REQUEST_STATUSES: Final = frozenset({400, 413, 422})
"""Statuses with which providers reject what the request says; others mean key, access, model or address."""
_TOO_LONG: Final = r"""
    context.?(length|size|window|limit|the overflows)
    exceed_context
    maximum (context|prompt|model|input|sequence) length
    exceeds max length
    (prompt|input|request|messages?|conversation)( is| are)? too (long|large)
    request_too_large
    too many tokens:
    model token limit
    (input|prompt|requested) token count
    reduce the length
    tokens must be reduced
    longer than the maximum
    exceeds (the )?max(imum)? (input )?length
    inputs?.? tokens? \+
    range of input length
    string_above_max_length
    maximum tokens you requested exceeds
"""
_WINDOW: Final = r"""
    > ?(\d[\d,]{2,})
    (?:max(?!_)\w*|limit\w*|n_ctx|context.(?:window|length|size))\D{0,40}?(\d[\d,]{2,})(?![\d,]| [+>])
    (\d[\d,]{2,}) max
"""
_CONTENT_POLICY: Final = r"""
    content.?(policy|filter|management|exists.?risk)
    responsible.?ai.?policy
    data_inspection
    moderation
    was flagged
    safety system
    prohibited.?content
    sensitive.?(content|words)
    policy_violation
"""
_BAD_IMAGE: Final = r"""
    (invalid|unsupported|image_parse|too_many)[_ ](image|base64)
    image[_ ](parse|url|format|too|size|content)
    \bimages? (exceeds?|input|dimensions?|is|are|cannot|could|must|does)\b
    (support\w*|process|decode|identify|download|fetch|load|read|at most \d+) (\w+ ){0,3}images?\b
    (image|multi.?modal|vision)\w* (input|support|is not|are not)
"""
_BAD_DOCUMENT: Final = r"""
    \b(pdfs?|documents?|file.?data)\b.{0,60}(invalid|not valid|password|encrypted|corrupt|damaged|empty|pages|exceed)
    (invalid|unsupported|maximum of \d+|process|open|parse|read) (\w+ ){0,3}(pdfs?|documents?|file.?data)\b
"""
_MISCONFIGURED: Final = r"""
    api.?key|credential|security token
    model.?identifier|inference profile|model.?(not.?found|does not exist)
    (unknown|invalid|no such) model\b
    model \S+ (not found|does not exist|is not)
    not have access
"""
_CALLERS_REASONS: Final = (
    (_TOO_LONG, ModelInputTooLong),
    (_CONTENT_POLICY, ModelContentRefused),
    (_BAD_IMAGE, ModelImageRefused),
    (_BAD_DOCUMENT, ModelDocumentRefused),
)

_SENSITIVE_TEXT: Final = r"arn:\S+|\b(?:sk|key|xai|gsk|AKIA|ASIA)[-_A-Za-z0-9*]{8,}|https?://\S+"
_MAX_MESSAGE_CHARS: Final = 300
_MAX_SEARCHED_CHARS: Final = 1000  # the patterns' time must not depend on what the provider sends
_MAX_DEPTH: Final = 8
_MAX_HTML_CHARS: Final = 4096
_MESSAGE_FIELDS: Final = (
    *("message", "Message", "msg", "detail", "error", "errors", "fault", "faultstring"),
    *("error_description", "error_msg", "status_msg", "base_resp", "reason", "title"),
)
_CODE_FIELDS: Final = ("code", "type", "status", "error_code", "status_code")
_SUCCESS: Final = frozenset({"0", "200", "ok", "success"})
_NOTHING: Final = _SUCCESS | {"", "none", "null", "false"}
_HTML_TITLE: Final = r"(?is)<title[^>]*>(.*?)</title>"
_HTML_TAG: Final = r"(?is)<(script|style)\b.*?</\1>|<[^>]*>?"


class ErrorHints(msgspec.Struct, frozen=True):
    """The settings that an error message tells the operator to check."""

    key: str
    base_url: str
    access: str = "MODEL_ID"


def error_for_status(status: int, headers: Mapping[str, str], body: bytes, hints: ErrorHints) -> ModelError:
    """The error for a response whose status is not 200."""
    code, message = parse_error_object(parse_body(body))
    code = redaction.redact(headers.get("x-amzn-errortype", "").partition(":")[0]) or code
    if code in _BILLING_ERROR_CODES:
        return ModelMisconfigured(f"the model's provider requires payment ({code}); check the account of {hints.key}")
    reason = None if status == 401 else _callers_reason(code, message)
    if (status in _RETRYABLE_STATUSES or status >= 500) and reason is not ModelInputTooLong:
        text = f"the model's provider is busy ({_format_status(status, code)}){sanitize_message(message)}"
        return ModelBusy(text, retry_after_s(headers))
    settings_to_check = {
        401: hints.key,
        403: f"{hints.key} and {hints.access}",
        404: f"MODEL_ID and {hints.base_url}",
    }.get(status, f"MODEL_ID and {hints.base_url}" if status < 400 else "MODEL_ID and the request's options")
    detail = "" if status in {401, 403} else sanitize_message(message)
    text = f"the model's provider rejected the request ({_format_status(status, code)})"
    if reason is None:
        is_misconfigured = any_of(_MISCONFIGURED).search(f"{code} {message[:_MAX_SEARCHED_CHARS]}")
        reason = ModelRefused if status in _REQUEST_STATUSES and not is_misconfigured else ModelMisconfigured
    return _rejection(reason, f"{text}; check {settings_to_check}{detail}", message)


def error_for_non_stream_body(body: bytes, hints: ErrorHints) -> ModelError:
    """The error for a 200 whose body is a document instead of a stream: a JSON error, or the wrong address."""
    value = parse_body(body)
    if is_error(value):
        return mid_stream_error(value)
    # Only a page is quoted: other documents may hold parts of an answer.
    detail = sanitize_message(redaction.redact(value)) if isinstance(value, str) and b"<" in body[:9] else ""
    text = f"the model's provider sent a document instead of a stream; check {hints.base_url}{detail}"
    return ModelMisconfigured(text)


def mid_stream_error(error: Any) -> ModelError:
    """The error for an error object inside a stream whose status was 200."""
    code, message = parse_error_object(error)
    text = f"the model's provider reports {code[:80] or 'an error'}{sanitize_message(message)}"
    if reason := _callers_reason(code, message):
        return _rejection(reason, text, message)
    is_retryable = any_of(_RETRYABLE_ERROR).search(code or message) or code.startswith(("5", "429"))
    return ModelBusy(text) if is_retryable else ModelError(text)


def raise_if_error(frame: bytes, **decoded: Any) -> None:
    """Raise the error that a frame of a stream is, if it is one.

    Args:
        frame: The frame.
        decoded: What the provider's decoder made of it, which also reads damaged and more deeply nested frames.

    Raises:
        ModelError: It is an error.
    """
    value = parse_body(frame)
    value = decoded if isinstance(value, str) else value
    if is_error(value):
        raise mid_stream_error(value)


def _callers_reason(code: str, message: str) -> type[ModelRefused] | None:
    """The class of a rejection that the caller can mend; None for any other."""
    text = f"{code} {message}"[:_MAX_SEARCHED_CHARS]
    return next((kind for phrases, kind in _CALLERS_REASONS if any_of(phrases).search(text)), None)


def _rejection(kind: type[ModelRefused], text: str, message: str) -> ModelRefused:
    """The error of this kind; if the conversation is too long, it knows the model's window as far as it is named."""
    if kind is not ModelInputTooLong:
        return kind(text)
    found = any_of(_WINDOW).search(message[:_MAX_SEARCHED_CHARS])
    number = found[found.lastindex or 0] if found else "0"
    return ModelInputTooLong(text, int(number.replace(",", "")))


def stop_reason_error(reason: str) -> ModelError:
    """The error for a turn that the provider ended for a reason that is no ending."""
    reason = redaction.redact(reason)[:80]
    if "malformed" in reason.lower():
        return ModelGarbled(f"the model's provider discarded malformed output of the model ({reason})")
    return ModelBusy(f"the model's provider gave up before the answer was whole{sanitize_message(reason)}")


def is_error(value: Any) -> bool:
    """Whether a frame of a stream, or a document, is an error. It may say so in any of the shapes that servers use.

    Beside choices a message may also be `success`, and `detail` anything: there only an error or its code counts.
    """
    if isinstance(value, list):  # Gemini puts an array around its error
        return len(value) == 1 and is_error(value[0])
    if not isinstance(value, dict):
        return False
    is_named = "error" in (value.get("object"), value.get("type"))
    if is_named or any(map(_is_set, (value.get("error"), value.get("errors")))):
        return True
    base = value.get("base_resp")  # MiniMax
    codes = [value.get("code"), value.get("error_code"), base.get("status_code") if isinstance(base, dict) else None]
    if any(map(_is_set, codes)):
        return True
    if value.get("choices") or value.get("usage") or any(str(code).lower() in _SUCCESS for code in codes):
        return False
    texts = [value.get(name) for name in ("message", "Message", "detail", "msg", "error_msg")]
    return any(text and isinstance(text, str | list) for text in texts)


def _is_set(value: Any) -> bool:
    """Whether an error or a code says anything: `null`, 0, `{"code": 0}` and `success` do not."""
    if isinstance(value, dict):
        return any(map(_is_set, value.values()))
    return bool(value) and str(value).lower() not in _NOTHING


def parse_error_object(body: Any) -> tuple[str, str]:
    """Extract the short code and the message from an error object in any of the usual shapes; empty if missing.

    Gateways quote the key that they reject, so known secrets are redacted here, before the text is used anywhere.
    """
    return redaction.redact(_find_code(body)), redaction.redact(_find_message(body))


def _find_code(value: Any, depth: int = 0) -> str:
    """The code of the innermost error object that has one."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict) or depth > _MAX_DEPTH:
        return ""
    inner = (value[name] for name in ("error", "errors", "base_resp") if value.get(name))
    codes = (value.get(name) for name in _CODE_FIELDS)
    own = next((str(code) for code in codes if isinstance(code, str | int) and code not in {"", "error", 0}), "")
    return _find_code(next(inner, None), depth + 1) or own


def _find_message(value: Any, depth: int = 0) -> str:
    """The first sentence meant for people. A string may be the JSON of another error."""
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, str):
        nested = parse_body(value.encode(errors="replace")) if value.lstrip()[:1] in {"{", "[", "<"} else None
        return _find_message(nested, depth + 1) or value if nested not in (None, value) else value
    if isinstance(value, list):
        return next(filter(None, (_find_message(item, depth + 1) for item in value)), "")
    if not isinstance(value, dict):
        return ""
    metadata = value.get("metadata")  # OpenRouter: what the provider behind it said, which says more than its own words
    behind = metadata.get("raw") if isinstance(metadata, dict) else None
    candidates = (behind, *map(value.get, _MESSAGE_FIELDS))
    message = next(filter(None, (_find_message(candidate, depth + 1) for candidate in candidates)), "")
    where = value.get("loc")  # of FastAPI: which field of the request is meant
    return f"{'.'.join(map(str, where))}: {message}" if message and where and isinstance(where, list) else message


def _format_status(status: int, code: str) -> str:
    return f"{status} {code[:80]}" if code and code != str(status) else str(status)


def sanitize_message(message: str) -> str:
    """The provider's message after a colon, on one line, truncated, without what looks like a key, an ARN or a URL."""
    line = " ".join(re.sub(_SENSITIVE_TEXT, "[...]", message).split())
    return f": {line[:_MAX_MESSAGE_CHARS]}" if line else ""


def parse_body(body: bytes) -> Any:
    """The value of a JSON body. Of anything else the text: of an HTML page its title, else what it shows."""
    with contextlib.suppress(ValueError, RecursionError):
        return orjson.loads(body)
    text = body.decode(errors="replace").strip()
    if not text.startswith("<"):
        return text
    text = text[:_MAX_HTML_CHARS]
    title = re.search(_HTML_TITLE, text)
    return re.sub(_HTML_TAG, " ", title[1] if title else text).strip()
