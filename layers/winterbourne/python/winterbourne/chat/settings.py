"""The settings: environment variables validated into one frozen struct when the execution environment starts.

A variable is named like its field, in capitals. An empty variable counts as unset, because templates often leave
variables empty.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra.secret_values import find_secrets, find_secrets_in_urls

__all__ = ["Settings"]

Seconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
# How the names of fields with secret values end.
SECRET_SUFFIXES: Final = ("_key", "_keys", "aws_bearer_token_bedrock", "mcp_tokens")
Limit = Annotated[int, Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="upper"):
    """Every setting of the chat and the tool worker, with its default. Seconds may have decimals."""

    # Model provider: scripted (no model, for trying out), openai, anthropic or bedrock.
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
    # Maximum number of model turns in one request.
    max_turns: Count = 10

    # Maximum number of threads for synchronous tools, for all conversations of the process together.
    tool_executor_max_workers: Count = 8
    # Seconds one tool call may take, unless the tool sets `timeout_s`.
    tool_execution_timeout: Seconds = 30.0
    # Tool calls of one model turn that run at the same time; further calls are queued.
    tool_concurrency: Count = 16
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

    # Base URL of Finnhub, for stock quotes.
    finnhub_base_url: str = "https://finnhub.io/api/v1"
    # Finnhub API key, for local use. Without a key the stock quote tool is unavailable.
    finnhub_api_key: str = ""
    # ARN of the secret or SSM parameter with the Finnhub API key; wins over FINNHUB_API_KEY.
    finnhub_api_key_secret_arn: str = ""
    # Base URL of Frankfurter, for exchange rates.
    frankfurter_base_url: str = "https://api.frankfurter.dev/v1"
    # Base URL of Open-Meteo, for the weather.
    open_meteo_base_url: str = "https://api.open-meteo.com/v1"
    # Base URL of Open-Meteo's geocoding, for the places of the weather.
    open_meteo_geocoding_base_url: str = "https://geocoding-api.open-meteo.com/v1"

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

    # Maximum number of idle connections that the HTTP connection pool keeps alive.
    http_pool_connections: Count = 20
    # Maximum number of connections of the HTTP connection pool; further requests wait for one.
    http_pool_maxsize: Count = 100
    # Seconds for each phase of an HTTP request: waiting for a connection, connecting, writing, each read.
    http_timeout: Seconds = 15.0

    # Seconds of silence on a stream before a heartbeat is sent.
    heartbeat_interval: Seconds = 10.0
    # Seconds before Lambda's deadline at which a stream that still runs is ended with a terminal event.
    deadline_margin: Seconds = 2.0

    # Name of the deployment, in the field `service` of each log line and the dimension `service` of each metric.
    service_name: str = "chat"
    # Whether the log may contain what users and models say, and the arguments of tools.
    log_messages: bool = False

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

    # Authentication scheme. api_key rejects every call until keys are configured; none accepts every call.
    auth: Literal["api_key", "jwt", "iam", "none"] = "api_key"
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
    # Rate limit: requests per minute and caller (fixed window); 0 is no limit.
    limit_requests_per_minute: Limit = 0
    # Token limit: input plus output tokens per day (UTC) and caller; 0 is no limit.
    limit_tokens_per_day: Limit = 0

    # Where conversations, limits and stop requests are stored: memory, file:PATH (SQLite) or dynamodb:TABLE.
    store: Annotated[str, Meta(pattern=r"^(memory|file:.+|dynamodb:.+)$")] = "memory"
    # Days a conversation is kept after its last message.
    conversation_ttl_days: Count = 30
    # Seconds until a lease that is no longer renewed expires, so that another request may use the conversation.
    conversation_lease: Seconds = 30.0
    # Seconds between two checks of the store for a stop request that another environment has received.
    stop_poll_interval: Seconds = 0.5

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read and validate the variables that are set.

        Raises:
            SettingsError: A value is invalid; the message names the variable.
        """
        known = {field.encode_name for field in msgspec.structs.fields(cls)}
        values = {name: value for name, value in environment.items() if name in known and value}
        try:
            return msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(_format_validation_error(str(error))) from None

    def secret_values(self) -> Iterator[str]:
        """All secret values: keys, keys within JSON, and credentials in URLs."""
        for name, value in msgspec.structs.asdict(self).items():
            if isinstance(value, str) and name.endswith(SECRET_SUFFIXES):
                yield from find_secrets(value, by_name=False) if value else ()
            elif isinstance(value, str):
                yield from find_secrets_in_urls(value)

    def __repr__(self) -> str:
        """The values that differ from the defaults, with secrets masked, so that no log line leaks one by mistake."""
        changed = {name: value for name, value in msgspec.structs.asdict(self).items() if value != _DEFAULTS[name]}
        shown = (f"{name}={'…' if name.endswith(SECRET_SUFFIXES) else repr(value)}" for name, value in changed.items())
        return f"Settings({', '.join(shown)})"


_DEFAULTS: Final = msgspec.structs.asdict(Settings())


def _format_validation_error(message: str) -> str:
    """`Expected `int`, got `str` - at `$.MAX_TURNS`` → `MAX_TURNS: expected int, got str`. Values are never shown."""
    what, _, path = message.replace("`", "").partition(" - at $.")
    return f"{path}: {what[:1].lower()}{what[1:]}"
