"""The settings: environment variables validated into frozen structs when the execution environment starts.

A variable is named like its field, in capitals. An empty variable counts as unset, because templates often leave
variables empty.
"""

from collections.abc import Container, Iterator, Mapping
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra.secret_values import find_secrets, find_secrets_in_urls

__all__ = [
    "VARIABLES",
    "AuthSettings",
    "HttpSettings",
    "LimitSettings",
    "LogSettings",
    "ModelSettings",
    "RequestSettings",
    "Settings",
    "StorageSettings",
    "StreamSettings",
    "ToolSettings",
    "choose",
    "expect_made",
    "is_secret",
    "likely_setting",
    "misspelt_variables",
    "variables_set",
]

T = TypeVar("T")

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
PLATFORM_PREFIXES: Final = ("AWS_", "LAMBDA_", "_", "PYTHON", "LD_", "LC_", "XDG_")
# How the names of variables with secret values end.
SECRET_SUFFIXES: Final = ("_KEY", "_KEYS", "AWS_BEARER_TOKEN_BEDROCK", "MCP_TOKENS")
Limit = Annotated[int, Meta(ge=0)]


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The model provider, its options, and the agent loop around it."""

    # Model provider: scripted (no model, for trying out), openai, anthropic, bedrock, or one of your own.
    model_provider: str = "scripted"
    # Model id as the provider spells it, on Bedrock also an inference profile. Unset: the provider module's default.
    model_id: str = ""
    # Further model ids that a request may choose, comma-separated. Unset: only the default model.
    model_choices: str = ""
    # Base URL of OpenAI or of a compatible server.
    openai_base_url: str = "https://api.openai.com/v1"
    # Base URL of Anthropic or of a compatible server.
    anthropic_base_url: str = "https://api.anthropic.com"
    # Base URL of the Bedrock runtime. Unset: the public endpoint of BEDROCK_REGION.
    bedrock_base_url: str = ""
    # OpenAI API key, for local use. Unset: requests carry no key, which only other servers accept.
    openai_api_key: str = ""
    # Anthropic API key, for local use. Unset: requests carry no key, which only other servers accept.
    anthropic_api_key: str = ""
    # Bedrock API key. Unset: requests are signed with the role's credentials.
    aws_bearer_token_bedrock: str = ""
    # ARN of the secret or SSM parameter with the provider's API key; wins over the three keys above.
    model_api_key_secret_arn: str = ""
    # AWS region of the Bedrock model. Unset: the function's own region.
    bedrock_region: str = ""
    # The function's own AWS region; set by Lambda.
    aws_region: str = ""
    # Temperature of requests that set none. Unset: the provider's own default.
    model_temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    # Highest temperature a request may set.
    model_temperature_max: Annotated[float, Meta(ge=0, le=2)] = 2.0
    # Maximum number of output tokens of one model turn; a request may set less.
    model_max_tokens: Count = 8192
    # Seconds of silence after which the provider's stream is given up.
    model_idle_timeout: Seconds = 60.0
    # JSON object merged into every request to the provider; its fields win. Unset: nothing is added.
    model_extra_body: str = ""
    # System prompt put before every conversation.
    system_prompt: str = ""
    # Whether a request may add a system prompt of its own; if not, such a request is rejected.
    system_prompt_from_request: bool = True
    # Words per second of the scripted model; 0 is as fast as the client reads.
    scripted_words_per_second: Annotated[float, Meta(ge=0)] = 30.0


class ToolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The tool executor, the tool worker and the MCP servers."""

    # Maximum number of threads for synchronous tools, for all conversations of the process together.
    tool_executor_max_workers: Count = 8
    # Seconds one tool call may take, unless the tool sets `timeout_s`.
    tool_execution_timeout: Seconds = 30.0
    # Tool calls of one model turn that run at the same time; further calls are queued.
    tool_concurrency: Count = 16
    # Tool calls of one model turn that are run at all; further ones are refused with a sentence to the model.
    tool_calls_per_turn: Count = 128
    # Seconds before the deadline at which tools must end, so that the model can still answer.
    tool_answer_reserve: Annotated[float, Meta(ge=0)] = 10.0
    # Bytes of JSON in one tool result, unless the tool sets `max_result_bytes`; a longer one is cut with a note.
    tool_max_result_bytes: Annotated[int, Meta(ge=256)] = 32 * 1024
    # Threads and tasks of tools still running after cancellation at which the execution environment is retired.
    tool_abandoned_limit: Count = 8
    # Consecutive failures that open a tool's circuit breaker.
    tool_breaker_failures: Count = 5
    # Seconds a circuit breaker stays open before it lets one call through as a trial.
    tool_breaker_open_time: Seconds = 30.0
    # Bytes of memory for cached results of tools with `cache_ttl_s`.
    tool_cache_bytes: Count = 4 * 1024 * 1024
    # Name or ARN of the tool worker function. Unset: the tools that run there are not offered.
    tool_worker_function: str = ""
    # Endpoint of the Lambda API, named as in the AWS SDKs. Unset: the region's public endpoint.
    aws_endpoint_url_lambda: str = ""
    # MCP servers (streamable HTTP) as name=url, comma-separated. Unset: none.
    mcp_servers: str = ""
    # Bearer tokens of MCP servers, for local use: JSON, {"name": "token"}. Unset: no token is sent.
    mcp_tokens: str = ""
    # ARN of the secret or SSM parameter with the same JSON; wins over MCP_TOKENS.
    mcp_tokens_secret_arn: str = ""


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP connection pool."""

    # Maximum number of idle connections that the HTTP connection pool keeps alive.
    http_pool_connections: Count = 20
    # Maximum number of connections of the HTTP connection pool; further requests wait for one.
    http_pool_maxsize: Count = 100
    # Seconds for each phase of an HTTP request: waiting for a connection, connecting, writing, each read.
    http_timeout: Seconds = 15.0
    # How often a request of a tool is repeated that the service could not take: connect errors, 429, 502, 503, 504.
    http_retries: Annotated[int, Meta(ge=0, le=10)] = 2


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One streamed answer."""

    # Maximum number of model turns in one request.
    max_turns: Count = 10
    # Seconds of silence on a stream before a heartbeat is sent.
    heartbeat_interval: Seconds = 10.0
    # Seconds before Lambda's deadline at which a stream that still runs is ended with a terminal event.
    deadline_margin: Seconds = 2.0


class RequestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on one request."""

    # Maximum size of a request body in bytes; a function URL itself accepts at most 6 MiB.
    max_body_bytes: Count = 1024 * 1024
    # Maximum nesting depth of the JSON in a request body.
    max_json_depth: Count = 64
    # Maximum number of messages in one request, tool results included.
    max_messages: Count = 500
    # Maximum number of characters in one message, tool calls and results included; also in a system prompt.
    max_message_chars: Count = 200_000
    # Maximum number of images in one request.
    max_images: Count = 20
    # Maximum number of client tools in one request.
    max_client_tools: Count = 128


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call."""

    # Authentication scheme: api_key, jwt, iam, none, or one of your own. api_key rejects every call until keys are
    # configured; none accepts every call.
    auth: str = "api_key"
    # API keys of callers, for local use: JSON, {"name": "key"} or {"name": ["key", "next key"]}.
    api_keys: str = ""
    # ARN of the secret or SSM parameter with the same JSON; wins over API_KEYS.
    api_keys_secret_arn: str = ""
    # Issuer (`iss`) that a token must have; required with AUTH=jwt.
    jwt_issuer: str = ""
    # Audience (`aud`) that a token must have; required with AUTH=jwt.
    jwt_audience: str = ""
    # URL of the issuer's keys (JWKS). Unset: /.well-known/jwks.json under JWT_ISSUER.
    jwt_jwks_url: str = ""
    # Scope that a token must have. Unset: no scope is required.
    jwt_scope: str = ""
    # Seconds by which the issuer's clock may differ from ours.
    jwt_clock_skew: Annotated[float, Meta(ge=0)] = 30.0


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller may use."""

    # Rate limit: chats per minute and caller (fixed window), and five times as many other requests; 0 is no limit.
    limit_requests_per_minute: Limit = 0
    # Token limit: input plus output tokens per day (UTC) and caller; 0 is no limit.
    limit_tokens_per_day: Limit = 0

    @property
    def are_set(self) -> bool:
        """Whether there is any limit."""
        return bool(self.limit_requests_per_minute or self.limit_tokens_per_day)


class StorageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Conversations, limits and stop requests."""

    # Where conversations, limits and stop requests are stored: memory, file:PATH (SQLite), dynamodb:TABLE, or
    # SCHEME:NAME with a store of your own.
    store: str = "memory"
    # Days a conversation is kept after its last message.
    conversation_ttl_days: Count = 30
    # Seconds until a lease that is no longer renewed expires, so that another request may use the conversation.
    conversation_lease: Seconds = 30.0
    # Seconds between two checks of the store for a stop request that another environment has received.
    stop_poll_interval: Seconds = 0.5


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The log and the metrics."""

    # Name of the deployment, in the field `service` of each log line and the dimension `service` of each metric.
    service_name: str = "chat"
    # Whether the log may contain what users and models say, and the arguments of tools.
    log_messages: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting of the chat and the tool worker, in parts: each is handed to who needs it."""

    model: ModelSettings = ModelSettings()
    tools: ToolSettings = ToolSettings()
    http: HttpSettings = HttpSettings()
    stream: StreamSettings = StreamSettings()
    request: RequestSettings = RequestSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    storage: StorageSettings = StorageSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read and validate the variables that are set.

        Raises:
            SettingsError: A value is invalid; the message names the variable.
        """
        return cls.of(**{name.lower(): environment[name] for name in variables_set(environment)})

    @classmethod
    def of(cls, **values: object) -> "Settings":
        """Make settings of some values, which may be text, by the names of their fields; the others are defaults.

        Raises:
            SettingsError: There is no such setting, or its value is invalid; the message names its variable.
        """
        for name in values:
            if name != name.lower() or name.upper() not in VARIABLES:
                likely = likely_setting(name).lower()
                raise SettingsError(f"there is no setting {name}{likely and f'; is {likely} meant?'}")
        try:
            return msgspec.convert(dict.fromkeys(PARTS, values), cls, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(_format_validation_error(str(error))) from None

    def values(self) -> dict[str, Any]:
        """Every value by the name of its variable."""
        parts = (msgspec.structs.asdict(getattr(self, name)) for name in PARTS)
        return {name.upper(): value for part in parts for name, value in part.items()}

    def secret_values(self) -> Iterator[str]:
        """All secret values: keys, keys within JSON, and credentials in URLs."""
        for name, value in self.values().items():
            if isinstance(value, str) and is_secret(name):
                yield from find_secrets(value, by_name=False) if value else ()
            elif isinstance(value, str):
                yield from find_secrets_in_urls(value)

    def __repr__(self) -> str:
        """The values that differ from the defaults, with secrets masked, so that no log line leaks one by mistake."""
        changed = {name: value for name, value in self.values().items() if value != _DEFAULTS[name]}
        shown = (f"{name.lower()}={'…' if is_secret(name) else repr(value)}" for name, value in changed.items())
        return f"Settings({', '.join(shown)})"


def is_secret(variable: str) -> bool:
    """Whether the variable of this name holds a secret value."""
    return variable.endswith(SECRET_SUFFIXES)


def choose(setting: str, name: str, ours: Mapping[str, T], own: Mapping[str, T] | None) -> T:
    """What a setting names among the engine's and one's own; one's own wins.

    Raises:
        SettingsError: There is nothing of that name; the message lists those there are.
    """
    named = {**ours, **(own or {})}
    if name not in named:
        raise SettingsError(f"{setting}: expected one of {', '.join(named)}")
    return named[name]


def expect_made(setting: str, name: str, made: T, kind: type[Any]) -> T:
    """What a factory made.

    Raises:
        SettingsError: It is nothing of that kind.
    """
    if not isinstance(made, kind):
        raise SettingsError(f"{setting}: the function for {name} must return a {kind.__name__}")
    return made


def variables_set(environment: Mapping[str, str]) -> list[str]:
    """The names of the settings that are set by a variable."""
    return [name for name, value in environment.items() if value and name in VARIABLES]


def misspelt_variables(environment: Mapping[str, str], others: Container[str] = ()) -> dict[str, str]:
    """Variables whose names are nearly those of settings, each with the likely name; `others` are known to be none."""
    unknown = (n for n, value in environment.items() if value and n not in VARIABLES and n not in others)
    found = {name: likely_setting(name) for name in unknown if not name.startswith(PLATFORM_PREFIXES)}
    return {name: likely for name, likely in sorted(found.items()) if likely}


def likely_setting(name: str) -> str:
    """The setting whose name differs by a letter or two, or in case alone; empty if there is none."""
    upper = name.upper().replace("-", "_")
    if swapped := [each for each in VARIABLES if len(each) == len(upper) and sorted(each) == sorted(upper)]:
        return swapped[0]
    near = [each for each in VARIABLES if abs(len(each) - len(upper)) <= 2 and len({*each} ^ {*upper}) <= 2]
    if "_" not in upper or not near:  # what follows takes time at every cold start
        return ""
    import difflib  # noqa: PLC0415 - as said

    return next(iter(difflib.get_close_matches(upper, near, n=1, cutoff=0.9)), "")


PARTS: Final = Settings.__struct_fields__
_DEFAULTS: Final = Settings().values()
VARIABLES: Final = _DEFAULTS.keys()
"""The names of all environment variables that are settings."""


_CHOICES: Final = {
    "LOG_MESSAGES": "true or false",
    "SYSTEM_PROMPT_FROM_REQUEST": "true or false",
}
"""What a setting may be, where the validator names a type, a pattern or the value itself."""


def _format_validation_error(message: str) -> str:
    """`Expected `int`, got `str` - at `$.stream.max_turns`` → `MAX_TURNS: expected int, got str`, never the value."""
    what, _, path = message.replace("`", "").partition(" - at $.")
    name = path.rpartition(".")[2].upper()
    return f"{name}: {f'expected {_CHOICES[name]}' if name in _CHOICES else what[:1].lower() + what[1:]}"
