"""Environment variables → one frozen Settings, checked when the execution environment starts.

A variable's name is its field's name in capitals. An empty variable counts as unset, as templates like to leave them.
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
# How the names of fields end whose values are nobody's business.
SECRET_SUFFIXES: Final = ("_key", "_keys", "aws_bearer_token_bedrock", "mcp_tokens")
Limit = Annotated[int, Meta(ge=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="upper"):
    """Every setting of the function, with its default."""

    # The model
    model_provider: str = "scripted"  # one of the table in models/registry.py: openai, anthropic, bedrock
    model_id: str = ""
    model_choices: str = ""  # further model ids a caller may ask for, with commas between
    openai_base_url: str = "https://api.openai.com/v1"
    anthropic_base_url: str = "https://api.anthropic.com"
    bedrock_base_url: str = ""
    openai_api_key: str = ""
    anthropic_api_key: str = ""
    aws_bearer_token_bedrock: str = ""  # a Bedrock API key; without it requests are signed with the role's credentials
    model_api_key_secret_arn: str = ""  # of a secret or a parameter with the provider's key; wins over the variables
    bedrock_region: str = ""  # where the model is; the function's own region unless set
    aws_region: str = ""  # set by Lambda
    model_temperature: Annotated[float, Meta(ge=0, le=2)] | None = None  # the provider's own unless set
    model_temperature_max: Annotated[float, Meta(ge=0, le=2)] = 2.0  # the most a request may ask for
    model_max_tokens: Count = 8192  # of one turn; a request may ask for less
    model_idle_timeout: Seconds = 60.0  # seconds of silence after which a provider is given up
    model_extra_body: str = ""  # a JSON object merged into every request to the provider
    system_prompt: str = ""  # stands above every conversation
    system_prompt_from_request: bool = True  # whether a request may add to it
    # Pace of the scripted model; 0 is as fast as it is read
    scripted_words_per_second: Annotated[float, Meta(ge=0)] = 30.0
    max_turns: Count = 10

    # The tools
    tool_executor_max_workers: Count = 8
    tool_execution_timeout: Seconds = 30.0
    tool_concurrency: Count = 16
    # Seconds kept back before the deadline for the answer that follows the tools
    tool_answer_reserve: Annotated[float, Meta(ge=0)] = 10.0
    # Bytes of JSON one result may have, unless the tool says otherwise; more is cut with a note
    tool_max_result_bytes: Annotated[int, Meta(ge=256)] = 32 * 1024
    # Threads and tasks that did not end when told to; at this many the environment is marked for retirement
    tool_abandoned_limit: Count = 8
    # The circuit breakers: failures in a row that open one, and seconds it stays open before one call may try
    tool_breaker_failures: Count = 5
    tool_breaker_open_time: Seconds = 30.0
    # Results of tools with `cache_ttl_s` kept in memory, in bytes
    tool_cache_bytes: Count = 4 * 1024 * 1024

    # The shipped tools
    finnhub_base_url: str = "https://finnhub.io/api/v1"
    finnhub_api_key: str = ""  # for local use
    finnhub_api_key_secret_arn: str = ""  # the same in Secrets Manager or the SSM parameter store
    frankfurter_base_url: str = "https://api.frankfurter.dev/v1"
    open_meteo_base_url: str = "https://api.open-meteo.com/v1"
    open_meteo_geocoding_base_url: str = "https://geocoding-api.open-meteo.com/v1"

    # Tools that live elsewhere
    tool_worker_function: str = ""  # name or ARN of the function that hosts the heavy tools; they are not offered unset
    aws_endpoint_url_lambda: str = ""  # another endpoint of Lambda's API, as the AWS SDKs spell it
    mcp_servers: str = ""  # MCP servers over streamable HTTP: name=url, several with commas
    mcp_tokens: str = ""  # for local use: JSON, name to bearer token
    mcp_tokens_secret_arn: str = ""  # the same, in a secret

    # The HTTP pool
    http_pool_connections: Count = 20
    http_pool_maxsize: Count = 100
    http_timeout: Seconds = 15.0

    # The stream
    heartbeat_interval: Seconds = 10.0
    deadline_margin: Seconds = 2.0  # seconds before Lambda's deadline at which a stream says its last word

    # Watching it
    service_name: str = "chat"  # the field of each log line and the dimension of each metric that name the deployment

    log_messages: bool = False  # whether the log may have what users and models say

    # Requests
    max_body_bytes: Count = 1024 * 1024  # a function URL itself takes 6 MiB at most
    max_json_depth: Count = 64  # levels a body may nest
    max_messages: Count = 500  # messages of one request, tool results among them
    max_message_chars: Count = 200_000  # characters of one message, its arguments and results among them
    max_images: Count = 20  # images of one request
    max_client_tools: Count = 128  # tools a caller may bring along

    # Who may call
    auth: Literal["api_key", "jwt", "iam", "none"] = "api_key"
    api_keys: str = ""  # JSON, {"name": "key"} or {"name": ["key", "next key"]}; for local use
    api_keys_secret_arn: str = ""  # the same in Secrets Manager or the SSM parameter store
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_jwks_url: str = ""  # the issuer's /.well-known/jwks.json where not set
    jwt_scope: str = ""  # a scope the token must have, where set
    jwt_clock_skew: Annotated[float, Meta(ge=0)] = 30.0  # seconds the issuer's clock may differ from ours
    limit_requests_per_minute: Limit = 0  # per caller; 0 is no limit
    limit_tokens_per_day: Limit = 0  # per caller, input and output; 0 is no limit

    # What is kept
    store: Annotated[str, Meta(pattern=r"^(memory|file:.+|dynamodb:.+)$")] = "memory"
    conversation_ttl_days: Count = 30  # days a conversation is kept after its last message
    conversation_lease: Seconds = 30.0  # seconds after which a conversation whose environment died is free again
    stop_poll_interval: Seconds = 0.5  # seconds between two looks whether another environment was asked to stop us

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read what is set.

        Raises:
            SettingsError: A value cannot be; the message names the variable.
        """
        known = {field.encode_name for field in msgspec.structs.fields(cls)}
        values = {name: value for name, value in environment.items() if name in known and value}
        try:
            return msgspec.convert(values, cls, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsError(_format_validation_error(str(error))) from None

    def secret_values(self) -> Iterator[str]:
        """Every secret value in here: keys, keys within JSON, and what addresses have of them."""
        for name, value in msgspec.structs.asdict(self).items():
            if isinstance(value, str) and name.endswith(SECRET_SUFFIXES):
                yield from find_secrets(value, by_name=False) if value else ()
            elif isinstance(value, str):
                yield from find_secrets_in_urls(value)

    def __repr__(self) -> str:
        """What differs from the defaults, without the secrets: no log line can have them by mistake."""
        changed = {name: value for name, value in msgspec.structs.asdict(self).items() if value != _DEFAULTS[name]}
        shown = (f"{name}={'…' if name.endswith(SECRET_SUFFIXES) else repr(value)}" for name, value in changed.items())
        return f"Settings({', '.join(shown)})"


_DEFAULTS: Final = msgspec.structs.asdict(Settings())


def _format_validation_error(message: str) -> str:
    """`Expected `int`, got `str` - at `$.MAX_TURNS`` → `MAX_TURNS: expected int, got str`. Values are never shown."""
    what, _, path = message.replace("`", "").partition(" - at $.")
    return f"{path}: {what[:1].lower()}{what[1:]}"
