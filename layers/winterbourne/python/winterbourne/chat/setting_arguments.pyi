"""Every setting as an argument of `Chat` and `ToolWorker`; made of `settings`."""

from typing import Literal, TypedDict

class SettingArguments(TypedDict, total=False):
    model_provider: str
    model_id: str
    model_choices: str
    model_fallback: str
    openai_base_url: str
    openai_api: Literal["auto", "chat", "responses"]
    anthropic_base_url: str
    bedrock_base_url: str
    openai_api_key: str
    anthropic_api_key: str
    aws_bearer_token_bedrock: str
    model_api_key_secret_arn: str
    openai_api_key_secret_arn: str
    anthropic_api_key_secret_arn: str
    bedrock_region: str
    bedrock_guardrail: str
    aws_region: str
    model_temperature: float | None
    model_temperature_max: float
    model_max_tokens: int
    model_reasoning: Literal["", "none", "minimal", "low", "medium", "high", "max"]
    show_reasoning: bool
    model_idle_timeout: float
    compaction: Literal["auto", "off"]
    compaction_model: str
    model_extra_body: str
    model_prices: str
    model_capabilities: str
    model_cache: Literal["auto", "off", "1h"]
    system_prompt: str
    system_prompt_from_request: bool
    scripted_words_per_second: float
    tool_executor_max_workers: int
    tool_execution_timeout: float
    tool_concurrency: int
    tool_calls_per_turn: int
    tool_answer_reserve: float
    tool_max_result_bytes: int
    tool_abandoned_limit: int
    tool_breaker_failures: int
    tool_breaker_open_time: float
    tool_cache_bytes: int
    approval_ttl_days: int
    signing_key: str
    signing_key_secret_arn: str
    tool_worker_function: str
    aws_endpoint_url_lambda: str
    mcp_endpoint: Literal["auto", "on", "off"]
    mcp_servers: str
    mcp_tokens: str
    mcp_tokens_secret_arn: str
    http_pool_connections: int
    http_pool_maxsize: int
    http_timeout: float
    http_retries: int
    max_turns: int
    heartbeat_interval: float
    on_disconnect: Literal["durable", "run", "cancel"]
    error_trailers: bool
    deadline_margin: float
    request_timeout: float
    cors_origins: str
    asgi_door: Literal["server", "web", "agentcore"]
    max_body_bytes: int
    max_json_depth: int
    max_messages: int
    max_message_chars: int
    max_images: int
    max_documents: int
    max_client_tools: int
    auth: str
    api_keys: str
    api_keys_secret_arn: str
    jwt_issuer: str
    jwt_audience: str
    jwt_jwks_url: str
    jwt_scope: str
    jwt_clock_skew: float
    jwt_client_id: str
    limit_requests_per_minute: int
    limit_tokens_per_day: int
    limit_dollars_per_day: float
    store: str
    keep: Literal["request", "always"]
    title_model: str
    conversation_ttl_days: int
    conversation_lease: float
    stop_poll_interval: float
    service_name: str
    log_messages: bool
    metrics: Literal["full", "lean", "off"]
    log_clients: bool
    otel_exporter_otlp_endpoint: str
    otel_exporter_otlp_headers: str
    otel_exporter_otlp_headers_secret_arn: str
    otel_service_name: str
    otel_resource_attributes: str
    otel_traces_sampler: str
    otel_traces_sampler_arg: float
