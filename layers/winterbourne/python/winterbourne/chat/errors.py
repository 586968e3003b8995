"""Every error the chat function raises on purpose.

ChatError
├── SettingsError             the operator's fault: a setting is missing or wrong; found at init
├── CredentialsMissing        the operator's fault: nothing to sign a request to AWS with
├── ToolMisdeclared           the developer's fault: a function cannot be a tool, or reads what it does not name
├── RequestRejected           the caller's fault: answered with a 4xx before the stream opens
│   └── StoreUnavailable      not theirs: what is kept cannot be reached now; a 503
├── ModelError                the model's provider failed; an error frame once the stream is open
│   ├── ModelRefused          400, 401, 403, 404: names the setting to look at; never retried
│   ├── ModelBusy             429, 5xx, overloaded; may carry retry_after_s
│   ├── ModelUnreachable      no connection, or it broke before an answer came
│   ├── ModelGarbled          the provider broke its own format
│   ├── ModelStreamTruncated  the stream ended without the format's own end
│   └── ModelSilent           nothing came for MODEL_IDLE_TIMEOUT seconds
├── DeadlineReached           Lambda's deadline is near; the stream ends with a word before it
└── ToolError                 told to the model as written; the conversation goes on
    └── ToolUnavailable       what the tool needs is away for now: may be tried again, and the breaker counts it

Each has a `code`, a short stable word a client may branch on, and a message that is safe to show: no key, no
token, no address of ours.
"""

__all__ = [
    "INTERNAL_ERROR_MESSAGE",
    "ChatError",
    "CredentialsMissing",
    "DeadlineReached",
    "InvalidToolDeclaration",
    "ModelBusy",
    "ModelError",
    "ModelGarbled",
    "ModelRefused",
    "ModelSilent",
    "ModelStreamTruncated",
    "ModelUnreachable",
    "RequestRejected",
    "SettingsError",
    "StorageUnavailable",
    "ToolError",
    "ToolUnavailable",
]


INTERNAL_ERROR_MESSAGE = "something went wrong here; the log has the details"
"""What callers are told of an error that none of these is."""


class ChatError(Exception):
    """The root. `str(error)` may be shown to the caller."""

    code = "internal_error"


class SettingsError(ChatError):
    """A setting is missing or has a value that cannot be; the message names the variable."""

    code = "settings_error"


class InvalidToolDeclaration(ChatError):
    """A function, its options or its name cannot make a tool; the message says what to write instead."""

    code = "tool_misdeclared"


class CredentialsMissing(ChatError):
    """There are no AWS credentials to sign with."""

    code = "credentials_missing"


class RequestRejected(ChatError):
    """The request cannot be answered as it is.

    Args:
        status: HTTP status, 400 to 499, or 503 where a dependency of the check is away.
        code: A short stable word such as `body_too_large`.
        message: One sentence that says what to mend.
        headers: More response headers, for example `allow` or `retry-after`.
    """

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


class StorageUnavailable(RequestRejected):
    """What is kept cannot be read or written now."""

    def __init__(self) -> None:
        super().__init__(503, "store_unavailable", "what is kept here cannot be reached now", {"retry-after": "5"})


class ModelError(ChatError):
    """The model's provider did not do its part."""

    code = "model_error"


class ModelRefused(ModelError):
    """The provider will never take this request: wrong key, model, region or arguments."""

    code = "model_refused"


class ModelBusy(ModelError):
    """The provider is overloaded or limits us. `retry_after_s` is what it asked for, in seconds, if it did."""

    code = "model_busy"

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelUnreachable(ModelError):
    """No connection to the provider, or it broke before any of the answer came."""

    code = "model_unreachable"


class ModelGarbled(ModelError):
    """The provider sent something its own format does not allow."""

    code = "model_garbled"


class ModelStreamTruncated(ModelError):
    """The provider's stream ended without the end its format demands; what came so far stays valid."""

    code = "model_stream_truncated"


class ModelSilent(ModelError):
    """The provider sent nothing for MODEL_IDLE_TIMEOUT seconds."""

    code = "model_silent"


class DeadlineReached(ChatError):
    """The execution environment's time is nearly up; the stream is ended while it still can be."""

    code = "deadline_reached"


class ToolError(ChatError):
    """Raised by a tool to tell the model something in its own words."""

    code = "tool_error"


class ToolUnavailable(ToolError):
    """What the tool needs is away for now. A tool with `retries` tries again, and its breaker counts a failure."""

    code = "tool_unavailable"
