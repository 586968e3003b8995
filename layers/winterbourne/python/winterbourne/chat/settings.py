"""The settings: environment variables validated into frozen structs when the execution environment starts.

A variable is named like its field, in capitals. An empty variable counts as unset, because templates often leave
variables empty.
"""

import functools
from collections.abc import Container, Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra.secret_values import find_secrets, find_secrets_in_urls
from winterbourne.override import override

__all__ = [
    "VARIABLES",
    "AuthSettings",
    "DoorSettings",
    "HttpSettings",
    "LimitSettings",
    "LogSettings",
    "ModelSettings",
    "RequestSettings",
    "Settings",
    "StorageSettings",
    "StreamSettings",
    "ToolSettings",
    "TraceSettings",
    "by_patterns",
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
SECRET_SUFFIXES: Final = ("_KEY", "_KEYS", "AWS_BEARER_TOKEN_BEDROCK", "MCP_TOKENS", "_OTLP_HEADERS")
Limit = Annotated[int, Meta(ge=0)]


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The model provider, its options, and the agent loop around it."""

    model_provider: str = "scripted"
    """Which model provider answers: scripted (no model but a fixed script, for trying out), openai (with every
    compatible server), anthropic, bedrock, or the name of one of your own, in `Chat(providers=…)`.
    """
    model_id: str = ""
    """The model's id as the provider spells it; on Bedrock also an inference profile, by its id and not its ARN. Unset:
    the provider's default, which may change with a release.
    """
    model_choices: str = ""
    """Further model ids that a request may choose, comma-separated; any other is answered with 404. Unset: only the
    default model. On Bedrock the function's role must allow them too (template parameter BedrockModels).
    """
    model_fallback: str = ""
    """Models that are asked in turn where the chosen one fails, as provider:model, comma-separated, such as
    `bedrock:global.anthropic.claude-haiku-4-5,openai:gpt-5.4-mini`. MODEL_ID and each of MODEL_CHOICES may have a list
    of its own, after a semicolon: `…;big-model=openai:gpt-5.4`. Each needs its provider's key, and gets nothing of
    MODEL_EXTRA_BODY. Unset: none.
    """
    openai_base_url: str = "https://api.openai.com/v1"
    """Base URL of OpenAI or of a compatible server, with its version, such as `http://localhost:11434/v1`:
    `/responses` or `/chat/completions` is added.
    """
    openai_api: Literal["auto", "chat", "responses"] = "auto"
    """Which API of OpenAI is asked: chat (Chat Completions), responses (Responses; Chat Completions if the server has
    none), auto (responses for OpenAI itself unless MODEL_EXTRA_BODY or a request has fields that only chat has, else
    chat).
    """
    anthropic_base_url: str = "https://api.anthropic.com"
    """Base URL of Anthropic or of a compatible server, without a version: `/v1/messages` is added."""
    bedrock_base_url: str = ""
    """Base URL of the Bedrock runtime, for a VPC endpoint or a proxy. Unset: the public endpoint of BEDROCK_REGION."""
    openai_api_key: str = ""
    """OpenAI API key, for local use; a deployment names a secret in MODEL_API_KEY_SECRET_ARN. Unset: requests carry no
    key, which only other servers accept.
    """
    anthropic_api_key: str = ""
    """Anthropic API key, for local use; a deployment names a secret in MODEL_API_KEY_SECRET_ARN. Unset: requests carry
    no key, which only other servers accept.
    """
    aws_bearer_token_bedrock: str = ""
    """Bedrock API key, named as in the AWS SDKs. Unset: requests are signed with the AWS credentials of the function's
    role, or with yours on your machine.
    """
    model_api_key_secret_arn: str = ""
    """ARN of the Secrets Manager secret or SSM parameter that holds the API key of MODEL_PROVIDER, as plain text or as
    the only value of a JSON object; wins over the three keys above. It is read on first use, and again when the
    provider refuses the key.
    """
    openai_api_key_secret_arn: str = ""
    """The same for OpenAI, where MODEL_FALLBACK asks it; wins over OPENAI_API_KEY."""
    anthropic_api_key_secret_arn: str = ""
    """The same for Anthropic, where MODEL_FALLBACK asks it; wins over ANTHROPIC_API_KEY."""
    bedrock_region: str = ""
    """AWS region of the Bedrock model, such as `us-east-1`. Unset: the function's own region."""
    bedrock_guardrail: str = ""
    """Guardrail of Amazon Bedrock that watches questions and answers, as id:version or ARN:version. Where it
    intervenes, its message is the answer, with the stop reason `refusal`. With `:async` after it words are shown before
    they have been checked, and taken back where the client can. Unset: none.
    """
    aws_region: str = ""
    """The function's own AWS region. Lambda sets it; `winterbourne run` takes yours, else `us-east-1`."""
    model_temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    """Temperature of requests that set none. Unset: none is sent, and the provider's own default holds."""
    model_temperature_max: Annotated[float, Meta(ge=0, le=2)] = 2.0
    """Highest temperature a request may set; a higher one is rejected with 400."""
    model_max_tokens: Count = 8192
    """Maximum number of output tokens of one model turn. A request may set less; more is rejected with 400. It must not
    exceed what the model itself allows.
    """
    model_reasoning: Literal["", "none", "minimal", "low", "medium", "high", "max"] = ""
    """How much a model thinks before it answers, unless a request says it: the nearest level that the model has; one
    that cannot think ignores it. Unset: what the model does by itself.
    """
    show_reasoning: bool = True
    """Whether callers are shown what a model thinks. With false its text is in no answer and no conversation that is
    read; it is kept with stored ones, and goes back to the provider.
    """
    model_idle_timeout: Seconds = 60.0
    """Seconds of silence after which the provider's stream is given up, before its first byte too. A model that thinks
    long without a sign of it needs more.
    """
    compaction: Literal["auto", "off"] = "auto"
    """Whether a conversation that fills four fifths of its model's window has its oldest turns replaced by a summary,
    for the model alone: auto, or off (one that is too long is answered with the error `context_length_exceeded`).
    """
    compaction_model: str = ""
    """The model that writes those summaries: its id as the provider spells it, of a cheap one. Unset: the model of the
    conversation. On Bedrock the function's role must allow it too (template parameter BedrockModels).
    """
    model_extra_body: str = ""
    """JSON object that is merged into the body of every request to the provider, for options without a setting, such as
    `{"service_tier":"flex"}`; its fields win over the engine's. Unset: nothing is added.
    """
    model_prices: str = ""
    """Prices of models, in dollars per million tokens, before those the engine knows: JSON, by the model's id or a
    pattern of it, such as `{"my-llama-*": {"input": 0.2, "output": 0.6, "cached": 0.1, "cache_write": 0.2}}`; of input
    read from a cache or written to it, what is not named costs as other input. Unset: the list prices of OpenAI,
    Anthropic, Bedrock, DeepSeek, Gemini, Groq, Mistral and xAI; what another server's models cost is not known.
    """
    model_capabilities: str = ""
    """JSON object of what models take, where the engine does not know it: by patterns of their ids, the fields of
    `Capabilities` that differ, such as `{"gemma*": {"tools": false, "window": 8192}}`. Unset: what is known of each
    family of models, and what their refusals teach.
    """
    model_cache: Literal["auto", "off", "1h"] = "auto"
    """How a provider's prompt cache is asked for, so that what a conversation repeats in each request costs a fraction:
    auto (marks for Claude and Nova, which live for five minutes, and a key for OpenAI), off, 1h (marks that live for an
    hour where the model has that; writing them costs more). What MODEL_EXTRA_BODY says of the cache wins over this.
    """
    system_prompt: str = ""
    """System prompt put before every conversation; the `instructions` of `Chat`. A request's own, if allowed, follows
    after a blank line.
    """
    system_prompt_from_request: bool = True
    """Whether a request may add a system prompt of its own; with false such a request is rejected with 400."""
    scripted_words_per_second: Annotated[float, Meta(ge=0)] = 30.0
    """Words per second of the scripted model; 0 is as fast as the client reads."""


class ToolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The tool executor, the tool worker and the MCP servers."""

    tool_executor_max_workers: Count = 8
    """Maximum number of threads for synchronous tools, of all conversations of the process together, and as many
    processes for isolated ones; further calls wait for one. Async tools need none.
    """
    tool_execution_timeout: Seconds = 30.0
    """Seconds one tool call may take, its retries included, unless the tool sets `timeout_s`. No shipped tool does."""
    tool_concurrency: Count = 16
    """How many tool calls of one model turn run at the same time; further calls are queued, and the client is told."""
    tool_calls_per_turn: Count = 128
    """How many tool calls of one model turn are run at all; the rest fail with a sentence to the model."""
    tool_answer_reserve: Annotated[float, Meta(ge=0)] = 10.0
    """Seconds, before the answer's deadline, at which tools must have ended so that the model can still answer.
    Lambda's timeout has to be longer than this and DEADLINE_MARGIN together, or no tool has time.
    """
    tool_max_result_bytes: Annotated[int, Meta(ge=256)] = 32 * 1024
    """Bytes of JSON in one tool result, unless the tool sets `max_result_bytes`, and in one progress message; a longer
    one is cut, with a note to the model.
    """
    tool_abandoned_limit: Count = 8
    """How many threads and tasks of tools may still run although their call was cancelled; at that many the execution
    environment finishes its work and ends, and Lambda starts a new one. A tool that is stuck in half as many threads is
    refused until then; at four times as many threads all are.
    """
    tool_breaker_failures: Count = 5
    """Consecutive failures after which a tool's circuit breaker opens, so that its calls fail at once. For tools that
    name a `breaker`.
    """
    tool_breaker_open_time: Seconds = 30.0
    """Seconds a circuit breaker stays open before it lets one call through as a trial."""
    tool_cache_bytes: Count = 4 * 1024 * 1024
    """Bytes of memory for cached results, of all tools with `cache_ttl_s` together; the least recently used go first.
    """
    approval_ttl_days: Count = 14
    """Days in which a person can decide on a tool call that waits for approval; then it counts as not allowed."""
    signing_key: str = ""
    """Key that signs what a person is asked, for local use: at least 32 characters, or two keys separated by a comma,
    of which the first signs and both are accepted, while one is being replaced. Unset: a random one, so that what one
    process asks no other can be told the answer to; but the local server makes one for all its processes, and with a
    STORE that outlives it keeps it in `winterbourne/signing.key` below `XDG_STATE_HOME` or `~/.local/state`.
    """
    signing_key_secret_arn: str = ""
    """ARN of the Secrets Manager secret or SSM parameter with the same; wins over SIGNING_KEY."""
    tool_worker_function: str = ""
    """Name or ARN of the tool worker function. Unset: the tools that run there are not offered."""
    aws_endpoint_url_lambda: str = ""
    """Base URL of the Lambda API, which calls the tool worker; named as in the AWS SDKs. Unset: the public endpoint of
    the region.
    """
    mcp_endpoint: Literal["auto", "on", "off"] = "auto"
    """Whether callers of the chat may also call its own tools directly, as MCP clients at `POST /mcp`: as those tools
    run for the model, with any arguments that a model could write, and at no cost of tokens. auto: unless AUTH=none.
    """
    mcp_servers: str = ""
    """MCP servers (streamable HTTP) whose tools are offered, as name=url, comma-separated; the names of their tools
    begin with the server's name and an underscore. Unset: none.
    """
    mcp_tokens: str = ""
    """Bearer tokens of MCP servers, for local use: JSON, `{"name": "token"}`. A server that is not named gets none."""
    mcp_tokens_secret_arn: str = ""
    """ARN of the Secrets Manager secret or SSM parameter with the same JSON; wins over MCP_TOKENS."""


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP connection pool."""

    http_pool_connections: Count = 20
    """Maximum number of idle connections that the HTTP connection pool keeps alive. One pool serves the model provider
    and all tools.
    """
    http_pool_maxsize: Count = 100
    """Maximum number of connections of the HTTP connection pool; further requests wait for one, HTTP_TIMEOUT at most.
    DynamoDB and other AWS services that the chat itself calls may have 16 more.
    """
    http_timeout: Seconds = 15.0
    """Seconds for each phase of an HTTP request: waiting for a connection, connecting, writing, each read. A model
    provider's answer is waited for by MODEL_IDLE_TIMEOUT instead.
    """
    http_retries: Annotated[int, Meta(ge=0, le=10)] = 2
    """How often a request of a tool is sent again that the service could not take (connect errors, 429, 502, 503, 504),
    within the tool's time; after a 5xx only where repeating is safe.
    """


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One streamed answer."""

    max_turns: Count = 10
    """Maximum number of model turns in one request: one for each round of tool calls, and one for the answer. At the
    limit the answer ends with the stop reason `max_turns`.
    """
    heartbeat_interval: Seconds = 10.0
    """Seconds of silence on a stream before a heartbeat is sent, so that proxies and clients do not take it for dead.
    """
    on_disconnect: Literal["durable", "run", "cancel"] = "durable"
    """What becomes of an answer whose client has gone, where a server tells (ASGI does, Lambda never): durable (it runs
    on if its conversation is kept, or if other processes can send it again; another is cancelled), run, cancel.
    """
    error_trailers: bool = False
    """Whether an answer that fails, not by a mistake of its caller's, also ends with Lambda's error trailers, after the
    error frame, so that Lambda counts an error and callers of InvokeWithResponseStream are told; a front end may then
    break the connection off.
    """
    deadline_margin: Seconds = 2.0
    """Seconds before Lambda's timeout, or REQUEST_TIMEOUT, at which an answer that still runs is ended with an error
    event; more for slow clients or a slow store.
    """


class DoorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How requests come in: through events of Lambda, or a server of one's own."""

    request_timeout: Seconds = 900.0
    """Seconds one request may take, where that is less than Lambda's timeout or nobody else sets a limit: an API's
    `timeoutInMillis`, a Web Function's `timeoutSeconds`, a server of your own. An answer ends DEADLINE_MARGIN before.
    """
    cors_origins: str = ""
    """Origins whose pages may call, such as `https://app.example`, comma-separated, or `*`, through a door that leaves
    CORS to the chat: every one but a function URL, which has a configuration of its own. Unset: none.
    """
    asgi_door: Literal["server", "web", "agentcore"] = "server"
    """What the ASGI server runs in, whose headers are then believed: server (nothing in particular; no header is), web
    (Lambda Web Functions: request id, and the caller's address in x-forwarded-for), agentcore (Bedrock AgentCore
    Runtime: request id and session id; `/invocations` and `/ping` are there).
    """


class RequestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on one request."""

    max_body_bytes: Count = 6 * 1024 * 1024
    """Maximum size of a request body in bytes; more is answered with 413. A function URL itself accepts 6 MiB at most.
    One takes up to twice its size of the function's memory.
    """
    max_json_depth: Count = 64
    """Maximum nesting depth of the JSON in a request body."""
    max_messages: Count = 5000
    """Maximum number of messages in one request, tool results included; more are answered with 413. Those of a kept
    conversation that are not in the request do not count.
    """
    max_message_chars: Count = 200_000
    """Maximum number of characters in one message, tool calls and results included, and in a request's system prompt;
    more are answered with 413. Images and documents do not count.
    """
    max_images: Count = 20
    """Maximum number of images in one request. Too many in the newest message are answered with 413; those of older
    messages are replaced by a line of text.
    """
    max_documents: Count = 5
    """Maximum number of documents in one request; Bedrock takes no more than 5. Too many in the newest message are
    answered with 413; those of older messages are replaced by a line of text.
    """
    max_client_tools: Count = 128
    """Maximum number of client tools in one request; more are answered with 413."""


class AuthSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call."""

    auth: str = "api_key"
    """Authentication scheme: api_key (rejects every call until there are keys), jwt, iam, none (accepts every call,
    all as one caller who sees all that is kept), or the name of one of your own, in `Chat(auth_schemes=…)`.
    """
    api_keys: str = ""
    """API keys of callers, for local use: JSON, `{"name": "key"}` or, while a key is being replaced, `{"name": ["key",
    "next key"]}`. Conversations and limits belong to the name.
    """
    api_keys_secret_arn: str = ""
    """ARN of the Secrets Manager secret or SSM parameter with the same JSON; wins over API_KEYS. A change takes effect
    within five minutes, a new key within ten seconds.
    """
    jwt_issuer: str = ""
    """Issuer (`iss`) that a token must have, a URL; required with AUTH=jwt."""
    jwt_audience: str = ""
    """Audience (`aud`) that a token must have; required with AUTH=jwt."""
    jwt_jwks_url: str = ""
    """URL of the issuer's public keys (JWKS): https, or http on this machine. Unset: /.well-known/jwks.json under
    JWT_ISSUER.
    """
    jwt_scope: str = ""
    """Scope that a token must have, in its claim `scope` or `scp`; one without it is answered with 403. Unset: no scope
    is required.
    """
    jwt_clock_skew: Annotated[float, Meta(ge=0)] = 30.0
    """Seconds by which the issuer's clock may differ from ours, where a token's times are checked."""
    jwt_client_id: str = ""
    """Client id that the issuer has given to the chat's page, a public client (a single-page application): with it the
    page signs its readers in there. Unset: the page cannot get a token.
    """


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one caller may use."""

    limit_requests_per_minute: Limit = 0
    """Rate limit: chats per caller and minute (of the clock), and five times as many other requests; 0 is no limit. It
    needs a STORE that all processes share.
    """
    limit_tokens_per_day: Limit = 0
    """Token limit: input plus output tokens per caller and day (UTC); 0 is no limit. It needs a STORE that all
    processes share.
    """
    limit_dollars_per_day: Annotated[float, Meta(ge=0)] = 0.0
    """Limit of what the models' tokens cost, in dollars per caller and day (UTC); 0 is no limit. A model whose price is
    not known costs nothing here: MODEL_PRICES has it. It needs a STORE that all processes share.
    """


class StorageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Conversations, limits and stop requests."""

    store: str = "memory"
    """Where conversations, logs of answers, limits and stop requests are stored: memory (each process for itself, lost
    with it; an answer can be resumed only in the process that gives it), file:PATH (SQLite, for one machine),
    dynamodb:TABLE, or SCHEME:NAME with a store of your own, in `Chat(stores=…)`.
    """
    keep: Literal["request", "always"] = "request"
    """Which conversations are kept: request (those whose requests say so, by `store: true`, or by sending one message
    instead of all), always (every one that its client has named with an id).
    """
    title_model: str = ""
    """The model that names a kept conversation, once, after its first answer: its id as the provider spells it, of a
    cheap one. Unset: the chat's default model. off: the title is the beginning of the first question. On Bedrock the
    function's role must allow it too (template parameter BedrockModels).
    """
    conversation_ttl_days: Count = 30
    """Days a conversation is kept after its last message; then it is deleted."""
    conversation_lease: Seconds = 30.0
    """Seconds after which the conversation of a process that died can be used again, and readers of its answer are told
    that it is lost. While a request runs in one, others get 409.
    """
    stop_poll_interval: Seconds = 0.5
    """Seconds between two looks into the store for a stop request that another process has received."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The log and the metrics."""

    service_name: str = "chat"
    """Name of the deployment, in the field `service` of each log line and the dimension `service` of each metric."""
    log_messages: bool = False
    """Whether the log may contain what users and models say, and the arguments of tools."""
    metrics: Literal["full", "lean", "off"] = "full"
    """Which metrics are emitted, which CloudWatch charges for: full, lean (Chats, FailedChats, TimeToFirstToken,
    InputTokens, OutputTokens and MemoryUsed, none by tool or model), or off. The log has the rest in its fields. The
    template has a parameter for it, since alarms need some.
    """
    log_clients: bool = True
    """Whether the log may say from which address and by which program (`user-agent`) a request came, by which abuse is
    told from use: personal data, where the law counts them so.
    """


class TraceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The export of traces; the names and the meaning are OpenTelemetry's."""

    otel_exporter_otlp_endpoint: str = ""
    """Base URL of the collector that gets the traces of requests as OTLP over HTTP, in JSON: `/v1/traces` is added. To
    X-Ray's, `https://xray.eu-central-1.amazonaws.com`, requests are signed. Unset: no traces.
    """
    otel_exporter_otlp_headers: str = ""
    """Headers of requests to the collector: name=value,name=value, percent-encoded. A deployment names a secret for its
    key in OTEL_EXPORTER_OTLP_HEADERS_SECRET_ARN.
    """
    otel_exporter_otlp_headers_secret_arn: str = ""
    """ARN of the Secrets Manager secret or SSM parameter that holds more of these headers, such as the collector's key,
    in the same form.
    """
    otel_service_name: str = ""
    """The service that traces are of. Unset: SERVICE_NAME."""
    otel_resource_attributes: str = ""
    """Further attributes of the service: name=value,name=value, percent-encoded."""
    otel_traces_sampler: str = "parentbased_always_on"
    """Which requests are traced: always_on, always_off, or traceidratio, the share in OTEL_TRACES_SAMPLER_ARG. With
    `parentbased_` before it, it decides only where the caller has not.
    """
    otel_traces_sampler_arg: Annotated[float, Meta(ge=0, le=1)] = 1.0
    """The share of requests that are traced, for traceidratio, from 0 to 1."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting of the chat and the tool worker, in parts: each is handed to who needs it."""

    model: ModelSettings = ModelSettings()
    tools: ToolSettings = ToolSettings()
    http: HttpSettings = HttpSettings()
    stream: StreamSettings = StreamSettings()
    doors: DoorSettings = DoorSettings()
    request: RequestSettings = RequestSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    storage: StorageSettings = StorageSettings()
    log: LogSettings = LogSettings()
    traces: TraceSettings = TraceSettings()

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

    @override
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


def by_patterns(setting: str, text: str, kind: type[T]) -> dict[str, T]:
    """What a setting says of models: a JSON object of objects of this kind, by patterns of the models' ids.

    Raises:
        SettingsError: It is no such object; the message names the pattern, and the field or the value that is wrong.
    """
    try:
        own = msgspec.json.decode(text or "{}", type=dict[str, dict[str, Any]])
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{setting}: expected a JSON object of objects, by patterns of models") from error
    parsed = dict[str, T]()
    for pattern, fields in own.items():
        try:
            parsed[pattern] = msgspec.convert(fields, kind)
        except msgspec.ValidationError as error:
            what = str(error).replace("`", "").replace(" - at $.", " in ")
            raise SettingsError(f"{setting}: {pattern}: {what[:1].lower()}{what[1:]}") from None
    return parsed


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


@functools.cache  # a process makes one chat, or many: its environment is the same
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


def _format_validation_error(message: str) -> str:
    """`Expected `int`, got `str` - at `$.stream.max_turns`` → `MAX_TURNS: expected int, got str`, never the value."""
    what, _, path = message.replace("`", "").partition(" - at $.")
    part, _, name = path.rpartition(".")
    if what.startswith("Expected bool"):
        what = "expected true or false"
    elif what.startswith("Invalid enum value"):
        what = (
            f"expected one of {', '.join(filter(None, get_args(Settings.__annotations__[part].__annotations__[name])))}"
        )
    return f"{name.upper()}: {what[:1].lower()}{what[1:]}"
