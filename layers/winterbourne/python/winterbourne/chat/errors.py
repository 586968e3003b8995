"""The exceptions that the chat engine raises on purpose.

ChatError
├── SettingsError             operator error: a setting is missing or invalid; found at init
├── CredentialsMissing        operator error: no AWS credentials to sign a request with
├── InvalidToolDeclaration    developer error: a function cannot be a tool, or reads a setting it does not declare
├── RequestRejected           answered with a 4xx, or a 503, before the stream starts
├── InvalidHistory            client error: the messages do not belong together
├── StorageError              storage refuses what was asked; the service answers with the status that fits
│   ├── StorageUnavailable    storage cannot be read or written at the moment
│   ├── ConversationNotFound  the caller has no conversation with this id
│   ├── ConversationBusy      another request is running in the conversation
│   └── RateLimitExceeded     the caller has used up a limit
├── ModelError                the model's provider failed; an error frame once the stream has started
│   ├── ModelRefused          400, 401, 403, 404: names the setting to check; never retried
│   ├── ModelBusy             429, 5xx, overloaded; may carry retry_after_s
│   ├── ModelUnreachable      no connection, or it broke before any of the response arrived
│   ├── ModelGarbled          the provider violated its own format
│   ├── ModelStreamTruncated  the stream ended without the end marker of its format
│   └── ModelSilent           nothing arrived for MODEL_IDLE_TIMEOUT seconds
├── DeadlineReached           Lambda's deadline is near; the stream gets its terminal event before it
└── ToolError                 shown to the model as written; the conversation goes on
    └── ToolUnavailable       a dependency is temporarily unavailable: may be retried, the circuit breaker counts it

Each has a `code`, a short stable identifier that clients may branch on, and a message that is safe to show: no key, no
token, no internal address.
"""

__all__ = [
    "INTERNAL_ERROR_MESSAGE",
    "ChatError",
    "ConversationBusy",
    "ConversationNotFound",
    "CredentialsMissing",
    "DeadlineReached",
    "InvalidHistory",
    "InvalidToolDeclaration",
    "ModelBusy",
    "ModelError",
    "ModelGarbled",
    "ModelRefused",
    "ModelSilent",
    "ModelStreamTruncated",
    "ModelUnreachable",
    "RateLimitExceeded",
    "RequestRejected",
    "SettingsError",
    "StorageError",
    "StorageUnavailable",
    "ToolError",
    "ToolUnavailable",
]


INTERNAL_ERROR_MESSAGE = "an internal error occurred; the log has the details"
"""What callers are told about an exception that is not a ChatError."""


class ChatError(Exception):
    """The base class. `str(error)` may be shown to the caller."""

    code = "internal_error"


class SettingsError(ChatError):
    """A setting is missing or invalid; the message names the variable."""

    code = "settings_error"


class InvalidToolDeclaration(ChatError):
    """A function cannot be a tool because of its signature, options or name; the message says what to write instead."""

    code = "tool_misdeclared"


class CredentialsMissing(ChatError):
    """There are no AWS credentials to sign a request with."""

    code = "credentials_missing"


class RequestRejected(ChatError):
    """The request cannot be answered as it is.

    Args:
        status: HTTP status, 400 to 499, or 503 if a service that the check depends on is unavailable.
        code: A short stable identifier such as `body_too_large`.
        message: One sentence that says what to fix.
        headers: Additional response headers, for example `allow` or `retry-after`.
    """

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


class InvalidHistory(ChatError):
    """New messages do not belong to their stored conversation; the message says which.

    Args:
        code: `unknown_tool_call`.
        message: One sentence that says what to fix.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class StorageError(ChatError):
    """Storage refuses what was asked, or cannot do it.

    Attributes:
        message: What the caller is told.
        retry_after_s: Seconds after which the same request may succeed; None if waiting does not help.
    """

    message = ""
    retry_after_s: int | None = None

    def __init__(self) -> None:
        super().__init__(self.message)


class StorageUnavailable(StorageError):
    """Storage cannot be read or written at the moment."""

    code = "store_unavailable"
    message = "Conversation storage is temporarily unavailable."
    retry_after_s = 5


class ConversationNotFound(StorageError):
    """The same error if the conversation does not exist or is another caller's, so as not to reveal which."""

    code = "conversation_not_found"
    message = "there is no such conversation"


class ConversationBusy(StorageError):
    """Another request is running in the conversation."""

    code = "conversation_busy"
    message = "another request is running in this conversation"
    retry_after_s = 1


class RateLimitExceeded(StorageError):
    """The caller has used up a limit.

    Args:
        limit: The limit, for example `20 requests per minute`.
        retry_after_s: Seconds until the limit's window ends.
    """

    code = "rate_limited"

    def __init__(self, limit: str, retry_after_s: int) -> None:
        self.message, self.retry_after_s = f"rate limit exceeded: {limit}", retry_after_s
        super().__init__()


class ModelError(ChatError):
    """The model's provider failed."""

    code = "model_error"


class ModelRefused(ModelError):
    """The provider rejects this request for good: wrong key, model, region or arguments."""

    code = "model_refused"


class ModelBusy(ModelError):
    """The provider is overloaded or rate-limits us. `retry_after_s` is the wait it asked for, in seconds, if any."""

    code = "model_busy"

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelUnreachable(ModelError):
    """No connection to the provider, or it broke before any of the response arrived."""

    code = "model_unreachable"


class ModelGarbled(ModelError):
    """The provider sent something that its own format does not allow."""

    code = "model_garbled"


class ModelStreamTruncated(ModelError):
    """The provider's stream ended without the end marker of its format; what arrived before stays valid."""

    code = "model_stream_truncated"


class ModelSilent(ModelError):
    """The provider sent nothing for MODEL_IDLE_TIMEOUT seconds."""

    code = "model_silent"


class DeadlineReached(ChatError):
    """The deadline of the invocation is near; the stream is ended while that is still possible."""

    code = "deadline_reached"


class ToolError(ChatError):
    """Raised by a tool to report a failure; model and user are shown the message as written."""

    code = "tool_error"


class ToolUnavailable(ToolError):
    """A dependency of the tool is temporarily unavailable: retried by `retries`, counted by its circuit breaker."""

    code = "tool_unavailable"
