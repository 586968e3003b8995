"""What a provider's error means: status or error object in, one of our errors out.

A message of ours names the setting to look at. The provider's own words are added where they help and cannot tell
a secret: the message never of 401 and 403, which quote keys, accounts and roles.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

import orjson

from winterbourne.chat.errors import ModelBusy, ModelError, ModelRefused
from winterbourne.chat.infra import redaction

__all__ = ["Signposts", "document", "refusal", "reported", "words"]

_BUSY: Final = frozenset({408, 409, 425, 429})
_BUSY_WORDS: Final = re.compile(
    r"overloaded|rate.?limit|throttl|too.?many|timeout|unavailable|server.?error|internal|capacity|model.?stream"
    r"|try again",
    re.IGNORECASE,
)
_FOR_GOOD: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
_SECRETIVE: Final = re.compile(r"arn:\S+|\b(?:sk|key|xai|gsk|AKIA|ASIA)[-_A-Za-z0-9*]{8,}|https?://\S+")
_MAX_WORDS: Final = 300


class Signposts(NamedTuple):
    """Which settings to look at when a provider refuses."""

    key: str
    base_url: str
    access: str = "MODEL_ID"


def refusal(status: int, headers: Mapping[str, str], body: bytes, signposts: Signposts) -> ModelError:
    """The error for a response that is not a 200."""
    code, message = words(_loads(body))
    code = redaction.redact(headers.get("x-amzn-errortype", "").partition(":")[0]) or code
    if code in _FOR_GOOD:
        return ModelRefused(f"the model's provider wants payment ({code}); look at the account of {signposts.key}")
    if status in _BUSY or status >= 500:
        return ModelBusy(f"the model's provider is busy ({_named(status, code)})", _retry_after_s(headers))
    where = {
        401: signposts.key,
        403: f"{signposts.key} and {signposts.access}",
        404: f"MODEL_ID and {signposts.base_url}",
    }.get(status, f"MODEL_ID and {signposts.base_url}" if status < 400 else "MODEL_ID and the request's options")
    said = "" if status in {401, 403} else _quoted(message)
    return ModelRefused(f"the model's provider refuses ({_named(status, code)}); look at {where}{said}")


def document(body: bytes, signposts: Signposts) -> ModelError:
    """The error for a 200 that brings a document where a stream was due: an error in JSON, or the wrong address."""
    value = _loads(body)
    if isinstance(value, dict) and value.get("error"):
        return reported(value["error"])
    return ModelRefused(f"the model's provider answers with a document, not a stream; look at {signposts.base_url}")


def reported(error: Any) -> ModelError:
    """The error for an error object inside a stream that began well."""
    code, message = words(error)
    text = f"the model's provider reports {code or 'an error'}{_quoted(message)}"
    return ModelBusy(text) if _BUSY_WORDS.search(code or message) or code.startswith(("5", "429")) else ModelError(text)


def words(body: Any) -> tuple[str, str]:
    """The short code and the message of an error object, in any of the usual shapes; empty where there is none.

    Gateways quote the key that they refuse, so known secrets are masked here, where the words come in.
    """
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return "", redaction.redact(error) if isinstance(error, str) else ""
    codes = (error.get(name) for name in ("code", "type", "status"))
    messages = (error.get(name) for name in ("message", "Message", "detail"))
    code = next((str(code) for code in codes if isinstance(code, str | int) and code not in {"", "error"}), "")
    message = next((message for message in messages if isinstance(message, str)), "")
    return redaction.redact(code), redaction.redact(message)


# Private functions


def _named(status: int, code: str) -> str:
    return f"{status} {code[:80]}" if code and code != str(status) else str(status)


def _quoted(message: str) -> str:
    """The provider's words on one line, cut, without what looks like a key, an ARN or an address."""
    line = " ".join(_SECRETIVE.sub("[...]", message).split())
    return f": {line[:_MAX_WORDS]}" if line else ""


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """RFC 9110, section 10.2.3: seconds or a date; and the header in milliseconds that OpenAI and Azure send."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = headers.get("retry-after", "")
    seconds = _number(asked)
    return _until(asked) if seconds is None else seconds


def _number(text: str) -> float | None:
    try:
        return max(0.0, float(text))
    except ValueError:
        return None


def _until(date: str) -> float | None:
    try:
        return max(0.0, (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _loads(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
