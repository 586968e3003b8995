"""The exceptions that the chat engine raises on purpose.

ChatError
├── SettingsError             operator error: a setting is missing or invalid; found at init
├── CredentialsMissing        operator error: no AWS credentials to sign a request with
├── AwsCallFailed             operator error: an AWS service refused a call; the log names its code
├── InvalidToolDeclaration    developer error: a function cannot be a tool, or reads a setting it does not declare
├── RequestRejected           answered with a 4xx, or a 503, before the stream starts
├── InvalidHistory            client error: the messages do not belong together
├── StorageError              storage refuses what was asked; the service answers with the status that fits
│   ├── StorageUnavailable    storage cannot be read or written at the moment
│   ├── ConversationNotFound  the caller has no conversation with this id
│   ├── ConversationBusy      another request is running in the conversation
│   └── RateLimitExceeded     the caller has used up a limit
├── ModelError                the model's provider failed; an error frame once the stream has started
│   ├── ModelRefused          the provider rejects the request for good; never retried
│   │   ├── ModelInputTooLong     the conversation does not fit into the model's context
│   │   ├── ModelContentRefused   the provider's content policy forbids it
│   │   ├── ModelImageRefused     the model cannot use an image of the conversation
│   │   ├── ModelDocumentRefused  the model cannot use a document of the conversation
│   │   └── ModelMisconfigured    operator error: key, access, model or address is wrong
│   ├── ModelBusy             429, 5xx, overloaded; may carry retry_after_s
│   ├── ModelUnreachable      no connection, or it broke before any of the response arrived
│   ├── ModelGarbled          the provider violated its own format
│   ├── ModelStreamTruncated  the stream ended without the end marker of its format
│   ├── ModelSilent           nothing arrived for MODEL_IDLE_TIMEOUT seconds
│   └── InvalidOutput         the answer is not the JSON that was asked for, and could not be mended
├── DeadlineReached           Lambda's deadline is near; the stream gets its terminal event before it
└── ToolError                 shown to the model as written; the conversation goes on
    ├── InputRequired         a call cannot go on before a person has filled in a form
    └── ToolUnavailable       a dependency is temporarily unavailable: may be retried, the circuit breaker counts it

Callers and operators are told different things. `str(error)` is for operators: it may name settings, models and what
the provider said, and goes to the log only. Callers get `code`, a short stable identifier to branch on, `status`, and
`public_message`: a fixed sentence of the class, unless the class says that its own message is written for callers.
"""

from typing import Any, ClassVar

from winterbourne.override import override

__all__ = [
    "AnswerLost",
    "AwsCallFailed",
    "ChatError",
    "ConversationBusy",
    "ConversationNotFound",
    "CredentialsMissing",
    "DeadlineReached",
    "InputRequired",
    "InvalidHistory",
    "InvalidOutput",
    "InvalidToolDeclaration",
    "ModelBusy",
    "ModelContentRefused",
    "ModelDocumentRefused",
    "ModelError",
    "ModelGarbled",
    "ModelImageRefused",
    "ModelInputTooLong",
    "ModelMisconfigured",
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


class ChatError(Exception):
    """The base class; what it says of itself is also what callers are told about any other exception.

    Attributes:
        code: A short stable identifier.
        status: The HTTP status of a response with this error.
        public_message: What the caller is told: one sentence without settings, addresses or the provider's words.
        is_transient: Whether the same request may succeed a little later.
        retry_after_s: How much later, in seconds, if it is known.
    """

    code = "internal_error"
    status = 500
    public_message = "Something went wrong on our side."
    is_transient: ClassVar[bool] = False
    retry_after_s: float | None = None


class SettingsError(ChatError):
    """A setting is missing or invalid; the message names the variable."""

    code = "settings_error"


class InvalidToolDeclaration(ChatError):
    """A function cannot be a tool because of its signature, options or name; the message says what to write instead."""

    code = "tool_misdeclared"


class CredentialsMissing(ChatError):
    """There are no AWS credentials to sign a request with."""

    code = "credentials_missing"


class AwsCallFailed(ChatError):
    """An AWS service refused a call, or failed.

    Args:
        reason: The code of the error as AWS names it, such as `AccessDeniedException`.
        message: AWS's words, which may name ARNs and are for the log.
        is_repeatable: Whether the same call may succeed a little later.

    Attributes:
        reason: As given.
        is_repeatable: As given.
    """

    def __init__(self, reason: str, message: str = "", *, is_repeatable: bool = False) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.is_repeatable = is_repeatable


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
        self.public_message = message
        self.headers = headers or {}


class InvalidHistory(ChatError):
    """New messages do not belong to their stored conversation; the message says which.

    Args:
        code: `unknown_tool_call`.
        message: One sentence that says what to fix.
    """

    status = 400

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.public_message = message


class StorageError(ChatError):
    """Storage refuses what was asked, or cannot do it. Its message is the one for callers."""

    status = 503

    def __init__(self) -> None:
        super().__init__(self.public_message)


class StorageUnavailable(StorageError):
    """Storage cannot be read or written at the moment."""

    code = "store_unavailable"
    public_message = "Conversation storage is temporarily unavailable."
    retry_after_s = 5


class ConversationNotFound(StorageError):
    """The same error if the conversation does not exist or is another caller's, so as not to reveal which."""

    code = "conversation_not_found"
    status = 404
    public_message = "there is no such conversation"


class ConversationBusy(StorageError):
    """Another request is running in the conversation."""

    code = "conversation_busy"
    status = 409
    public_message = "another request is running in this conversation"
    retry_after_s = 1


class RateLimitExceeded(StorageError):
    """The caller has used up a limit.

    Args:
        limit: The limit, for example `20 requests per minute`.
        retry_after_s: Seconds until the limit's window ends.
    """

    code = "rate_limited"
    status = 429

    def __init__(self, limit: str, retry_after_s: int) -> None:
        self.public_message, self.retry_after_s = f"rate limit exceeded: {limit}", retry_after_s
        super().__init__()


class ModelError(ChatError):
    """The model's provider failed."""

    code = "model_error"
    status = 502
    public_message = "The model failed to answer."


class ModelRefused(ModelError):
    """The provider rejects this request for good."""

    code = "model_refused"
    status = 400
    public_message = "The model does not accept this request."


class ModelInputTooLong(ModelRefused):
    """The conversation does not fit into the model's context: `window` tokens, or 0 if the provider does not say so.

    `is_fallbacks`: whether it is another model's than the chosen one, which may take it.
    """

    code = "context_length_exceeded"
    is_fallbacks = False
    public_message = "This conversation is too long for the model. Shorten it or start a new one."

    def __init__(self, message: str, window: int = 0) -> None:
        self.window = window
        super().__init__(message)


class ModelContentRefused(ModelRefused):
    """The provider's content policy forbids the conversation."""

    code = "content_policy_violation"
    public_message = "The content policy of the model does not allow this conversation."


class ModelImageRefused(ModelRefused):
    """The model cannot use an image of the conversation: its format or size, or images at all."""

    code = "invalid_image"
    public_message = "The model cannot use an image in this conversation."


class ModelDocumentRefused(ModelRefused):
    """The model cannot use a document of the conversation: it is encrypted, damaged, or has too many pages."""

    code = "invalid_document"
    public_message = "The model cannot use a document in this conversation."


class ModelMisconfigured(ModelRefused):
    """The provider rejects the deployment's key, access, model or address; the message names the setting to check."""

    status = 502
    public_message = "The model is not available at the moment."


class ModelBusy(ModelError):
    """The provider is overloaded or rate-limits us. `retry_after_s` is the wait it asked for, in seconds, if any."""

    code = "model_busy"
    status = 503
    public_message = "The model is busy. Please try again in a moment."
    is_transient = True

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelUnreachable(ModelError):
    """No connection to the provider, or it broke before any of the response arrived."""

    code = "model_unreachable"
    public_message = "The model cannot be reached at the moment. Please try again later."
    is_transient = True


class ModelGarbled(ModelError):
    """The provider sent something that its own format does not allow."""

    code = "model_garbled"
    public_message = "The model's answer could not be read."


class ModelStreamTruncated(ModelError):
    """The provider's stream ended without the end marker of its format; what arrived before stays valid."""

    code = "model_stream_truncated"
    public_message = "The model's answer broke off."
    is_transient = True


class ModelSilent(ModelError):
    """The provider sent nothing for MODEL_IDLE_TIMEOUT seconds."""

    code = "model_silent"
    status = 504
    public_message = "The model took too long to answer."
    is_transient = True


class InvalidOutput(ModelError):
    """The answer is not the JSON that the request asked for, and none of it is shown.

    Args:
        message: What happened.
        reason: Why the model stopped, as in `StopReason`; `stop` if it thought to have answered.
    """

    code = "invalid_output"

    def __init__(self, message: str, reason: str = "stop") -> None:
        super().__init__(message)
        why = "" if reason == "stop" else f" (it ended with: {reason})"
        self.public_message = f"The model's answer is not the JSON that was asked for{why}."


class DeadlineReached(ChatError):
    """The deadline of the invocation is near; the stream is ended while that is still possible."""

    code = "deadline_reached"
    status = 504
    public_message = "The time limit for this answer was reached."


class AnswerLost(ChatError):
    """The process that gave an answer is gone, and those who read the answer have what it had logged."""

    code = "answer_lost"
    status = 502
    public_message = "The answer broke off."
    is_transient = True


class ToolError(ChatError):
    """Raised by a tool to report a failure; model and user are shown the message as written."""

    code = "tool_error"

    @property
    @override
    def public_message(self) -> str:  # type: ignore[override]  # computed here, a constant elsewhere
        """The message itself: it was written for them."""
        return str(self)


class InputRequired(ToolError):
    """A call cannot go on before a person has filled in a form; where nobody can be asked, it has failed.

    Args:
        message: What the person is asked.
        schema: JSON schema of what is filled in.
        state: What the tool needs to go on with the answer, opaque to everybody else.
    """

    def __init__(self, message: str, schema: dict[str, Any], state: str) -> None:
        super().__init__("The tool's server asks for input, which cannot be given here.")
        self.message, self.schema, self.state = message, schema, state


class ToolUnavailable(ToolError):
    """A dependency of the tool is temporarily unavailable: retried by `retries`, counted by its circuit breaker."""

    code = "tool_unavailable"
