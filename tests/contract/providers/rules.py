"""What providers refuse: one row per rule. A test holds docs/reference/providers.md equal, which has them for readers.

A rule is public: a provider's page, or a report in which the refusal is quoted. `inferred` marks what no source says in
so many words, such as a rule of one server that is taken to hold for its neighbours. No provider was asked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.contract.providers import checks
from tests.contract.providers.checks import Check
from tests.contract.providers.requests import Request

__all__ = ["RULES", "Refusal", "Rule", "refusals"]

NEW_CLAUDE = "anthropic-adaptive anthropic-bound bedrock-claude-adaptive"
OLD_CLAUDE = "anthropic anthropic-thinking bedrock-claude-thinking"
CLAUDE = "anthropic anthropic-thinking anthropic-adaptive anthropic-bound"
CONVERSE = "bedrock-nova bedrock-claude-thinking bedrock-claude-adaptive bedrock-gpt-oss bedrock-qwen"
LITELLM = "litellm-claude"
OPENAI = "openai-chat openai-astra azure"
RESPONSES = "openai"
GEMINI = "gemini openrouter-gemini litellm-gemini"
TEMPLATES = "vllm-mistral llama-server"
THINKING_CLAUDE = "anthropic-thinking bedrock-claude-thinking litellm-claude"
CHAT_WITH_TOOLS = (
    "openai openai-chat openai-astra azure deepseek deepseek-efforts kimi kimi-efforts gemini mistral "
    "openrouter-gemini litellm-claude litellm-gemini vllm-mistral vllm-llama ollama llama-server"
)
EVERYONE = f"{CLAUDE} {CONVERSE} {CHAT_WITH_TOOLS} vllm-gemma ollama-gemma"

ANTHROPIC_FIELDS = [
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "inference_geo",
    "max_tokens",
    "mcp_servers",
    "messages",
    "metadata",
    "model",
    "output_config",
    "service_tier",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
]
OPENAI_FIELDS = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
]
RESPONSES_FIELDS = [
    "background",
    "context_management",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
]
MISTRAL_FIELDS = [
    "frequency_penalty",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_mode",
    "random_seed",
    "reasoning_effort",
    "response_format",
    "safe_prompt",
    "stop",
    "stream",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
    "prompt_cache_key",
    "guardrails",
]
GEMINI_FIELDS = [
    "extra_body",
    "frequency_penalty",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "model",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
    "user",
]
MESSAGE_FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio", "function_call")


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: The rule, as a sentence about what is refused.
        messages: Who refuses it, by name, and the words; `{found}` is what was found.
        check: What is looked for.
        source: A public page or report.
        does: What Winterbourne does so that it is not refused.
        status: The HTTP status.
        may_be_learned: Whether the refusal itself tells what to change, so that one request may be refused, to be sent
            again with the change. Later requests must know it.
        inferred: Whether the source only suggests the rule.
    """

    name: str
    messages: Mapping[str, str]
    check: Check
    source: str
    does: str
    status: int = 400
    may_be_learned: bool = False
    inferred: bool = False

    def message(self, family: str) -> str | None:
        """The family's words; None if it has no such rule."""
        return next((text for names, text in self.messages.items() if family in names.split()), None)

    @property
    def families(self) -> list[str]:
        """The names of all who refuse."""
        return [name for names in self.messages for name in names.split()]


@dataclass(frozen=True)
class Refusal:
    """A request that was refused."""

    rule: Rule
    message: str


def refusals(request: Request) -> Iterator[Refusal]:
    """Every reason to refuse a request, in the order of the table; the real provider tells one."""
    for rule in RULES:
        template = rule.message(request.family)
        if template is not None and (found := rule.check(request)) is not None:
            yield Refusal(rule, template.replace("{found}", found))


OPENAI_REASONING = "https://platform.openai.com/docs/guides/reasoning"
LEVELS = (
    ("GPT-5.4", "openai", "none low medium high xhigh", OPENAI_REASONING),
    ("GPT-6 Astra", "openai-astra", "low medium high xhigh", OPENAI_REASONING),
    ("GPT-5", "azure", "minimal low medium high", OPENAI_REASONING),
    ("Claude", NEW_CLAUDE, "low medium high xhigh max", "https://docs.anthropic.com/en/docs/build-with-claude/effort"),
    ("Gemini 3 Flash", "gemini", "minimal low medium high", "https://ai.google.dev/gemini-api/docs/thinking"),
    ("DeepSeek V4", "deepseek-efforts", "low high max", "https://api-docs.deepseek.com/guides/thinking_mode"),
    ("Kimi K3", "kimi-efforts", "low high max", "https://platform.kimi.ai/docs/guide/use-reasoning-effort"),
    ("Kimi K2.5", "kimi", "", "https://platform.kimi.ai/docs/guide/use-thinking-models"),
    ("Mistral Large", "mistral", "", "https://docs.mistral.ai/capabilities/reasoning"),
    (
        "Nova 2, with a limit of tokens,",
        "bedrock-nova",
        "low medium",
        "https://docs.aws.amazon.com/nova/latest/nova2-userguide/using-converse-api.html",
    ),
    (
        "a model behind Converse",
        "bedrock-gpt-oss",
        "low medium high",
        "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-openai.html",
    ),
)
"""Who, its families, the levels that it has, and where that is said."""
MODEL_FIELDS = (
    ("Claude", "bedrock-claude-thinking bedrock-claude-adaptive", "thinking output_config anthropic_beta top_k"),
    ("Nova", "bedrock-nova", "reasoningConfig inferenceConfig"),
    ("gpt-oss", "bedrock-gpt-oss", "reasoning_effort"),
    ("Qwen", "bedrock-qwen", "reasoning_config"),
)
"""Who, its families, and the fields that it knows."""

CALL_NAME = r"[a-zA-Z0-9_-]{1,64}"

RULES: tuple[Rule, ...] = (
    # What a server cannot do at all, which its refusal tells.
    Rule(
        "tools, by a model or server without them",
        {
            "ollama-gemma": "registry.ollama.ai/library/gemma3:latest does not support tools",
            "vllm-gemma": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
        },
        checks.any_tools,
        "https://github.com/tinyhumansai/openhuman/issues/2787, https://docs.vllm.ai/en/latest/features/tool_calling.html",
        "asks again without tools, tells calls and results of the history as text, and remembers it",
        may_be_learned=True,
    ),
    Rule(
        "a system message, by Gemma 2's chat template",
        {"vllm-gemma": "System role not supported"},
        checks.any_system,
        "https://github.com/huggingface/chat-ui/issues/1386",
        "asks again with it in the first question and remembers it",
        may_be_learned=True,
    ),
    Rule(
        "an image, by a model that reads text only",
        {
            "deepseek": "Failed to deserialize the JSON body into the target type: messages[0]: unknown variant "
            "`image_url`, expected `text`"
        },
        checks.any_image,
        "https://github.com/DayuanJiang/next-ai-draw-io/pull/55",
        "tells the user; asks again with lines in the place of older images and remembers it",
        may_be_learned=True,
    ),
    Rule(
        "`max_tokens`, by reasoning models",
        {
            OPENAI: "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead."
        },
        checks.old_max_tokens,
        "https://github.com/NousResearch/hermes-agent/issues/13901",
        "sends the new name to OpenAI; elsewhere asks again with it and remembers it",
        may_be_learned=True,
    ),
    Rule(
        "`stream_options`",
        {"mistral": "stream_options"},
        checks.stream_options,
        "https://github.com/dnakov/anon-kode/issues/53",
        "asks again without it and remembers it",
        status=422,
        may_be_learned=True,
    ),
    Rule(
        "a temperature other than 1, by reasoning models",
        {
            OPENAI: "Unsupported value: 'temperature' does not support {found} with this model. "
            "Only the default (1) value is supported.",
            RESPONSES: "Unsupported parameter: 'temperature' is not supported with this model.",
        },
        checks.any_temperature,
        "https://platform.openai.com/docs/guides/reasoning",
        "sends none unless one is set; tells it of a request, asks again without one of the settings",
        may_be_learned=True,
    ),
    Rule(
        "unknown fields of the request",
        {CLAUDE: "{found}: Extra inputs are not permitted"},
        checks.unknown_fields(ANTHROPIC_FIELDS),
        "https://github.com/anthropics/claude-code/issues/4378",
        "sends the documented ones",
    ),
    Rule(
        "fields that OpenAI does not know",
        {OPENAI: "Unknown parameter: '{found}'."},
        checks.unknown_fields(OPENAI_FIELDS),
        "https://platform.openai.com/docs/api-reference/chat/create",
        "sends the documented ones",
    ),
    Rule(
        "fields that Gemini does not know",
        {"gemini": 'Invalid JSON payload received. Unknown name "{found}": Cannot find field.'},
        checks.unknown_fields(GEMINI_FIELDS),
        "https://ai.google.dev/gemini-api/docs/openai",
        "sends the documented ones",
    ),
    Rule(
        "fields that Mistral does not know",
        {"mistral": "{found}"},
        checks.unknown_fields({*MISTRAL_FIELDS, "stream_options"}),
        "https://github.com/mistralai/platform-docs-public/issues/7",
        "sends the documented ones",
        status=422,
    ),
    Rule(
        "fields of a message that another provider made",
        {"mistral": "{found}"},
        checks.unknown_message_fields({*MESSAGE_FIELDS, "prefix"}),
        "https://github.com/charmbracelet/crush/issues/1590",
        "sends opaque fields only to the provider that they came from",
        status=422,
    ),
    Rule(
        "the same, by OpenAI",
        {OPENAI: "Additional properties are not allowed: '{found}'."},
        checks.unknown_message_fields(MESSAGE_FIELDS),
        "https://platform.openai.com/docs/api-reference/chat/create",
        "sends opaque fields only to the provider that they came from",
        inferred=True,
    ),
    Rule(
        "a request without `max_tokens`, or below 1",
        {CLAUDE: "{found}: Field required"},
        checks.max_tokens_missing,
        "https://docs.anthropic.com/en/api/messages",
        "always sends it",
    ),
    Rule(
        "what the service's own model of Converse does not take",
        {CONVERSE: "{found}"},
        checks.converse_shape,
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html",
        "sends what it takes",
    ),
    Rule(
        "a guardrail without its version, or with other characters",
        {CONVERSE: "The guardrail identifier or version provided in the request does not exist."},
        checks.odd_guardrail,
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_GuardrailStreamConfiguration.html",
        "checks BEDROCK_GUARDRAIL when it starts",
    ),
    # Emptiness.
    Rule(
        "more than the model's window",
        {
            CLAUDE: "prompt is too long: {found} maximum",
            CONVERSE: "Input is too long for requested model.",
            f"{OPENAI} {RESPONSES}": (
                "Your input exceeds the context window of this model. Please adjust your input and try again."
            ),
            GEMINI: "The input token count exceeds the maximum number of tokens allowed ({found}).",
            "llama-server": "the request exceeds the available context size, try increasing it ({found})",
            (
                "deepseek deepseek-efforts kimi kimi-efforts mistral litellm-claude"
                " vllm-mistral vllm-llama vllm-gemma ollama ollama-gemma"
            ): ("This model's maximum context length is exceeded: {found}. Please reduce the length of the messages."),
        },
        checks.too_long,
        "https://docs.claude.com/en/docs/build-with-claude/context-windows",
        "has the oldest turns summarised before that; after a refusal too, and remembers the window that it names",
        may_be_learned=True,
    ),
    Rule(
        "no messages",
        {
            CLAUDE: "messages: at least one message is required",
            CONVERSE: "A conversation must start with a user message. Try again with a conversation that starts with "
            "a user message.",
            RESPONSES: "Missing required parameter: 'input'.",
            f"{OPENAI} deepseek kimi": "Invalid 'messages': empty array. Expected an array with minimum length 1, but "
            "got an empty array instead.",
            GEMINI: "* GenerateContentRequest.contents: contents is not specified",
            "mistral": "Conversation must have at least one message",
            f"{LITELLM} ollama ollama-gemma vllm-gemma vllm-mistral vllm-llama llama-server": "[] is too short",
        },
        checks.no_messages,
        "https://docs.anthropic.com/en/api/messages, https://platform.openai.com/docs/api-reference/chat/create",
        "refuses an empty question before a request is paid for",
    ),
    Rule(
        "blank text",
        {
            f"{CLAUDE} {LITELLM}": "messages: text content blocks must contain non-whitespace text",
            CONVERSE: "The text field in the ContentBlock object at {found} is blank. Add text to the text field, and "
            "try again.",
        },
        checks.blank_text,
        "https://github.com/anthropics/claude-code/issues/23440, https://github.com/LibreChat-AI/agents/issues/124",
        "leaves it out, and with it a message that has nothing else",
    ),
    Rule(
        "a blank system prompt",
        {f"{CLAUDE} {LITELLM}": "system: text content blocks must contain non-whitespace text", CONVERSE: "system"},
        checks.blank_system,
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_SystemContentBlock.html",
        "leaves it out",
        inferred=True,
    ),
    Rule(
        "a message without content",
        {
            CLAUDE: "messages.{found}: all messages must have non-empty content except for the optional final "
            "assistant message",
            CONVERSE: "The content field in the Message object at messages.{found} is empty. Add a ContentBlock object "
            "to the content field and try again.",
            f"{OPENAI} deepseek openrouter-gemini": "Invalid value for 'content': expected a string, got null.",
            "ollama ollama-gemma": "invalid message content type: <nil>",
            "gemini litellm-gemini": "* GenerateContentRequest.contents[{found}].parts: must not be empty.",
            LITELLM: "messages.{found}: all messages must have non-empty content",
            "vllm-gemma vllm-mistral vllm-llama": "messages[{found}]: content is required",
        },
        checks.empty_turn,
        "https://docs.anthropic.com/en/api/messages",
        "leaves the message out",
        inferred=True,
    ),
    Rule(
        "an assistant's turn that neither says nor calls anything",
        {
            "mistral": "Assistant message must have either content or tool_calls, but not none.",
            "kimi": "Invalid request: the message at position {found} with role 'assistant' must not be empty",
            "llama-server": "Assistant message must contain either 'content' or 'tool_calls'!",
        },
        checks.empty_text_without_calls,
        "https://github.com/AIDotNet/OpenCowork/issues/10",
        "leaves it out",
    ),
    Rule(
        "an empty list of tools or calls",
        {
            OPENAI: "Invalid '{found}': empty array. Expected an array with minimum length 1.",
            CONVERSE: "toolConfig.tools: Member must have length greater than or equal to 1",
            "deepseek mistral vllm-gemma vllm-mistral vllm-llama": "[] is too short - '{found}'",
        },
        checks.empty_lists,
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolConfiguration.html",
        "leaves the field out",
    ),
    Rule(
        "a tool without words for its description",
        {CONVERSE: "toolSpec.description of {found}: Member must have length greater than or equal to 1"},
        checks.blank_description,
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html",
        "leaves the field out",
    ),
    # Order.
    Rule(
        "a conversation that does not begin with the user",
        {
            CLAUDE: 'messages: first message must use the "user" role',
            CONVERSE: "A conversation must start with a user message. Try again with a conversation that starts with "
            "a user message.",
            "mistral": "Conversation must start with a user message or system message, got {found}",
        },
        checks.first_is_not_user,
        "https://github.com/elastic/kibana/issues/246393",
        "puts a short user's turn before it",
    ),
    Rule(
        "two messages of one role in a row",
        {
            CONVERSE: "A conversation must alternate between user and assistant roles. Make sure the conversation "
            "alternates between user and assistant roles and try again.",
            "deepseek": "deepseek-reasoner does not support successive user or assistant messages ({found} in your "
            "input). You should interleave the user/assistant messages in the message sequence.",
        },
        checks.neighbours,
        "https://github.com/deepseek-ai/DeepSeek-R1/issues/21",
        "joins them",
    ),
    Rule(
        "the same, by chat templates of models with tools",
        {
            TEMPLATES: "After the optional system message, conversation roles must alternate "
            "user/assistant/user/assistant/..."
        },
        checks.template_roles,
        "https://github.com/vllm-project/vllm/issues/6862",
        "joins them; puts a short assistant's turn between a result and the next question",
    ),
    Rule(
        "the same, by Gemma's chat template",
        {"vllm-gemma ollama-gemma": "Conversation roles must alternate user/assistant/user/assistant/..."},
        checks.plain_template_roles,
        "https://github.com/huggingface/text-generation-inference/issues/3198",
        "joins them; tells calls and results as text to a model without tools",
    ),
    Rule(
        "a question directly after a tool's result",
        {"mistral": "Unexpected role {found}"},
        checks.user_after_tool,
        "https://github.com/zed-industries/zed/issues/37021",
        "puts a short assistant's turn between them",
    ),
    Rule(
        "an assistant's turn at the end",
        {
            f"{CLAUDE} {LITELLM}": "This model does not support assistant message prefill. The conversation must end "
            "with a user message.",
            CONVERSE: "The model returned the following errors: This model does not support assistant message prefill. "
            "The conversation must end with a user message.",
            "mistral": "Expected last role User or Tool (or Assistant with prefix True) for serving but got {found}",
            "deepseek": "The last message of deepseek-reasoner must be a user message, or an assistant message with "
            "prefix mode on",
        },
        checks.last_is_assistant,
        "https://github.com/0xPlaygrounds/rig/pull/1130",
        "ends with a user's turn",
    ),
    Rule(
        "a system message that is not the first",
        {
            f"{TEMPLATES} vllm-gemma vllm-llama": "System message must be at the beginning.",
            "mistral": "Unexpected role 'system' after role 'user'",
        },
        checks.system_not_first,
        "https://github.com/vllm-project/vllm/issues/6862",
        "joins all system messages into the first",
        inferred=True,
    ),
    Rule(
        "a call that does not follow the user or a result",
        {
            GEMINI: "Please ensure that function call turn comes immediately after "
            "a user turn or after a function response turn."
        },
        checks.call_after_assistant,
        "https://github.com/google-gemini/gemini-cli/issues/11814",
        "joins the assistant's neighbouring turns",
    ),
    # Calls and results.
    Rule(
        "a call without its result",
        {
            f"{CLAUDE} {LITELLM}": "messages: `tool_use` ids were found without `tool_result` blocks immediately "
            "after: {found}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
            CONVERSE: "Expected toolResult blocks for the following Ids: {found}",
            RESPONSES: "No tool output found for function call {found}.",
            f"{OPENAI} deepseek kimi": "An assistant message with 'tool_calls' must be followed by tool messages "
            "responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: {found}",
            TEMPLATES: "Not the same number of function calls and responses",
        },
        checks.unanswered_calls,
        "https://github.com/anthropics/claude-code/issues/6242",
        "answers it with an error result",
    ),
    Rule(
        "a number of results other than that of the calls",
        {
            "mistral": "Not the same number of function calls and responses",
            GEMINI: "Please ensure that the number of function response parts is "
            "equal to the number of function call parts of the function call turn.",
        },
        checks.different_number_of_results,
        "https://github.com/quarkiverse/quarkus-langchain4j/pull/1271",
        "sends exactly one result for each call",
    ),
    Rule(
        "a result without its call directly before it",
        {
            f"{CLAUDE} {LITELLM}": "messages: unexpected `tool_use_id` found in `tool_result` blocks: {found}. Each "
            "`tool_result` block must have a corresponding `tool_use` block in the previous message.",
            CONVERSE: "The number of toolResult blocks exceeds the number of toolUse blocks of previous turn: {found}",
            RESPONSES: "No tool call found for function call output with call_id {found}.",
            f"{OPENAI} deepseek": "Messages with role 'tool' must be a response to a preceding message with "
            "'tool_calls'",
            "kimi": "tool_call_id {found} is not found",
            GEMINI: "Please ensure that function response turn comes immediately after a function call turn.",
            "mistral": "Unexpected role 'tool' after role 'user'",
            TEMPLATES: "Unexpected role 'tool'",
        },
        checks.orphan_results,
        "https://github.com/orual/pattern/issues/5, https://github.com/langchain-ai/langchain/issues/27799",
        "leaves it out, or moves it up to its call",
    ),
    Rule(
        "two calls of a turn with one id",
        {
            f"{CLAUDE} {LITELLM}": "messages: `tool_use` ids must be unique",
            CONVERSE: "The toolUse blocks contain duplicate Ids: {found}",
            "mistral": "Duplicate tool call id in assistant message",
            f"{OPENAI} deepseek kimi": "Duplicate value for 'tool_call_id' of '{found}'",
        },
        checks.doubled_calls,
        "https://github.com/trycua/cua/issues/524",
        "keeps the last one",
    ),
    Rule(
        "one id for calls of several turns",
        {f"{CLAUDE} {LITELLM}": "messages: `tool_use` ids must be unique"},
        checks.doubled_calls_anywhere,
        "https://github.com/NVIDIA-NeMo/Switchyard/issues/502",
        "gives the later call an id of its own in the request",
    ),
    Rule(
        "two results of one call",
        {
            f"{CLAUDE} {LITELLM}": "messages: each tool_use must have a single result. Found multiple `tool_result` "
            "blocks with id: {found}",
            CONVERSE: "The toolResult blocks contain duplicate Ids: {found}",
            f"{OPENAI} deepseek kimi": "Duplicate value for 'tool_call_id' of '{found}'",
        },
        checks.doubled_results,
        "https://github.com/CopilotKit/CopilotKit/issues/2416",
        "keeps the last one",
    ),
    Rule(
        "anything before a result in its message",
        {CLAUDE: "messages.{found}: tool_result blocks must come first in the content"},
        checks.results_not_first,
        "https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use",
        "sends results first, and the next question after them",
    ),
    Rule(
        "a result without content",
        {
            "bedrock-nova": "The content field of the toolResult {found} is empty",
            RESPONSES: "Missing required parameter: 'input[2].output'.",
            f"{OPENAI} deepseek kimi mistral ollama": "tool message {found}: content is required",
        },
        checks.missing_result_text,
        "https://github.com/stdapi-ai/stdapi.ai/issues/226",
        "sends a short text in its place",
    ),
    Rule(
        "a blank result",
        {CONVERSE: "The text field in the ToolResultContentBlock object of {found} is blank"},
        checks.blank_result,
        "https://github.com/OpenHands/OpenHands/issues/5339; "
        "https://github.com/NousResearch/hermes-agent/issues/55092 measured that Claude takes it",
        "sends a short text in its place",
        inferred=True,
    ),
    Rule(
        "a failed result without words",
        {
            CLAUDE: "messages: tool_result {found}: content cannot be empty if `is_error` is true",
            CONVERSE: "The content field of toolResult {found} cannot be empty when status value is error.",
        },
        checks.empty_error_result,
        "https://github.com/aws-samples/sample-multi-agent-orchestration-chat-on-agentcore/issues/15",
        "sends a short text in its place",
    ),
    Rule(
        "a call's name with other characters, empty or too long",
        {
            f"{CLAUDE} {LITELLM}": "messages.1.content.0.tool_use.name: String should match pattern "
            "'^[a-zA-Z0-9_-]{1,64}$': {found}",
            CONVERSE: "1 validation error detected: Value {found} at 'toolUse.name' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+",
            RESPONSES: "Invalid 'input[1].name': string does not match pattern. Expected a string that matches the "
            "pattern '^[a-zA-Z0-9_-]+$': {found}",
            f"{OPENAI} deepseek": "Invalid 'messages[1].tool_calls[0].function.name': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$': {found}",
            "mistral vllm-mistral": "Function name was {found} but must be a-z, A-Z, 0-9, or contain underscores and "
            "dashes, with a maximum length of 64.",
        },
        checks.misfit(CALL_NAME, "call names"),
        "https://github.com/home-assistant/core/issues/140005, https://github.com/vercel/ai/issues/17769",
        "rewrites it in the request",
    ),
    Rule(
        "a call's name that begins with no letter",
        {
            "kimi": "function name is invalid, must start with a letter and can contain letters, numbers, underscores, "
            "and dashes",
            GEMINI: "* GenerateContentRequest.contents: Invalid function name "
            "{found}. Must start with a letter or an underscore. Must be alphameric (a-z, A-Z, 0-9), underscores (_), "
            "dots (.) or dashes (-), with a maximum length of 64.",
        },
        checks.misfit(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}", "call names"),
        "https://github.com/MoonshotAI/kimi-cli/issues/1773, https://github.com/home-assistant/core/issues/122265",
        "rewrites it in the request",
    ),
    Rule(
        "a call's id with other characters",
        {CLAUDE: "messages.5.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$': {found}"},
        checks.misfit(r"[a-zA-Z0-9_-]+", "call ids"),
        "https://github.com/tailcallhq/forgecode/issues/1142",
        "rewrites it in the request, for the call and its result",
    ),
    Rule(
        "a call's id with other characters, or over 64 long",
        {
            CONVERSE: "1 validation error detected: Value {found} at 'toolUse.toolUseId' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+"
        },
        checks.misfit(r"[a-zA-Z0-9_-]{1,64}", "call ids"),
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolUseBlock.html",
        "rewrites it in the request, for the call and its result",
    ),
    Rule(
        "a call's id over 40 long",
        {
            OPENAI: "Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum length "
            "40, but got a longer one: {found}"
        },
        checks.misfit(r"(?s:.{1,40})", "call ids"),
        "https://github.com/vercel/ai/issues/5171",
        "rewrites it in the request, for the call and its result",
    ),
    Rule(
        "a call's id that is not nine letters or digits",
        {
            "mistral": "Tool call id was {found} but must be a-z, A-Z, 0-9, with a length of 9.",
            TEMPLATES: "Tool call IDs should be alphanumeric strings with length 9!",
        },
        checks.misfit(r"[a-zA-Z0-9]{9}", "call ids"),
        "https://github.com/nearai/ironclaw/issues/1241, https://github.com/vllm-project/vllm/issues/9019",
        "rewrites it for Mistral; elsewhere asks again with such ids and remembers it",
        may_be_learned=True,
    ),
    Rule(
        "arguments of a call that are no JSON object",
        {
            f"{CLAUDE} {LITELLM}": "messages: tool_use.input: Input should be a valid dictionary: {found}",
            CONVERSE: "The format of the value at toolUse.input is invalid. Provide a json object: {found}",
            f"deepseek kimi {GEMINI} mistral vllm-llama ollama {TEMPLATES}": "invalid tool call arguments: {found}",
        },
        checks.arguments_no_object,
        "https://docs.anthropic.com/en/api/messages",
        "wraps them in an object",
        inferred=True,
    ),
    Rule(
        "several calls in one turn, by Llama's chat template",
        {"vllm-llama": "This model only supports single tool-calls at once!"},
        checks.several_calls,
        "https://github.com/vllm-project/vllm/blob/main/examples/tool_chat_template_llama3.1_json.jinja",
        "asks again with a turn of its own for each call and remembers it",
        may_be_learned=True,
    ),
    # Tools.
    Rule(
        "calls or results in the history while no tools are sent",
        {
            CLAUDE: "Requests which include `tool_use` or `tool_result` blocks must define tools",
            CONVERSE: "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
            LITELLM: "litellm.UnsupportedParamsError: Anthropic expects the `tools=` param to be passed in.",
        },
        checks.tools_missing,
        "https://github.com/langgenius/dify/issues/17545",
        "sends the tools, or those that the history names",
    ),
    Rule(
        "a tool choice without tools",
        {
            f"{CLAUDE} {LITELLM}": "tool_choice may only be specified while providing tools",
            f"{OPENAI} deepseek": "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are "
            "specified.",
            "vllm-mistral vllm-gemma vllm-llama": "When using `tool_choice`, `tools` must be set.",
        },
        checks.choice_without_tools,
        "https://platform.openai.com/docs/api-reference/chat/create",
        "sends both or neither",
    ),
    Rule(
        "the choice of a tool that is not sent",
        {
            f"{CLAUDE} {LITELLM}": "tool_choice: Tool '{found}' not found in provided tools",
            CONVERSE: "The provided tool choice {found} is not in toolConfig.tools",
            f"{OPENAI} {RESPONSES} deepseek": "Tool choice '{found}' not found in 'tools' parameter",
        },
        checks.choice_of_unknown_tool,
        "https://platform.openai.com/docs/api-reference/chat/create",
        "refuses the request before the model is asked",
    ),
    Rule(
        "two tools of one name",
        {
            f"{CLAUDE} {LITELLM}": "tools: Tool names must be unique.",
            CONVERSE: "The value at toolConfig.tools is invalid. Tool names must be unique: {found}",
            GEMINI: "Duplicate function declaration found: {found}",
            "deepseek kimi mistral": "Tool names must be unique: {found}",
        },
        checks.doubled_tools,
        "https://github.com/danny-avila/LibreChat/issues/13162",
        "lets a client's tool take the place of the server's; leaves out what is doubled",
    ),
    Rule(
        "a tool's name with other characters, or over 64 long",
        {EVERYONE: "tools: the name {found} does not match '^[a-zA-Z][a-zA-Z0-9_-]{0,63}$'"},
        checks.misfit(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}", "tool names"),
        "https://platform.openai.com/docs/guides/function-calling, https://github.com/MoonshotAI/kimi-cli/issues/1773",
        "takes no such tool",
    ),
    Rule(
        "a tool's schema that is no object",
        {
            f"{CLAUDE} {LITELLM}": "tools.0.custom.input_schema.type: Input should be 'object': {found}",
            CONVERSE: "The value at toolConfig.tools.0.toolSpec.inputSchema.json.type must be one of the following: "
            "object: {found}",
            f"{OPENAI} {RESPONSES} deepseek kimi": "Invalid schema for function '{found}': schema must be a JSON "
            "Schema of 'type: \"object\"'",
            GEMINI: "* function_declarations[0].parameters: schema of {found} should be of type OBJECT",
        },
        checks.no_object_schema,
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolInputSchema.html",
        "gives the schema its type",
    ),
    Rule(
        "`anyOf`, `oneOf` or `allOf` at the top of a tool's schema",
        {
            f"{CLAUDE} bedrock-claude-thinking {LITELLM}": "tools.0.custom.input_schema: input_schema does not support "
            "oneOf, allOf, or anyOf at the top level: {found}"
        },
        checks.combined_schema("anyOf", "oneOf", "allOf"),
        "https://github.com/makenotion/notion-mcp-server/issues/340",
        "takes it out of the schema",
    ),
    Rule(
        "the same, `enum` or `not`, by OpenAI",
        {
            f"{OPENAI} {RESPONSES}": "Invalid schema for function '{found}': schema must have type 'object' and not "
            "have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level."
        },
        checks.combined_schema(),
        "https://github.com/makenotion/notion-mcp-server/issues/340",
        "takes it out of the schema",
    ),
    Rule(
        "a property's name with other characters, or over 64 long",
        {
            f"{CLAUDE} bedrock-claude-thinking {LITELLM}": "tools.0.custom.input_schema.properties: Property keys "
            "should match pattern '^[a-zA-Z0-9_.-]{1,64}$': {found}"
        },
        checks.odd_property,
        "https://github.com/ComposioHQ/composio/issues/3500",
        "leaves the property out of the schema, or the tool out of the request",
    ),
    # Thinking.
    Rule(
        "a forced call while thinking",
        {
            THINKING_CLAUDE: "Thinking may not be enabled when tool_choice forces tool use.",
            "deepseek": "deepseek-reasoner does not support this tool_choice",
            "kimi": "tool_choice '{found}' is incompatible with thinking enabled",
        },
        checks.forced_call_while_thinking,
        "https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking",
        "leaves the choice to the model, at once where MODEL_EXTRA_BODY turns thinking on; else asks again and "
        "remembers it",
        may_be_learned=True,
    ),
    Rule(
        "a temperature other than 1 while thinking",
        {THINKING_CLAUDE: "`temperature` may only be set to 1 when thinking is enabled."},
        checks.temperature_while_thinking,
        "https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking",
        "sends none; asks again without it where it does not know that the model thinks",
        may_be_learned=True,
    ),
    Rule(
        "a thinking budget below 1,024, or not below `max_tokens`",
        {THINKING_CLAUDE: "`max_tokens` must be greater than `thinking.budget_tokens`: {found}"},
        checks.budget,
        "https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking",
        "sends what MODEL_EXTRA_BODY says; leaves thinking out where a request allows fewer tokens",
    ),
    Rule(
        "a tool loop without the thinking that began it",
        {
            THINKING_CLAUDE: "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
            "`{found}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block "
            "(preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
        },
        checks.thinking_not_first,
        "https://github.com/anomalyco/opencode/issues/3077",
        "sends it back as it came; where it is lost, turns thinking off for that request",
    ),
    Rule(
        "thinking of another model, or changed",
        {
            f"{CLAUDE} bedrock-claude-thinking {LITELLM}": "messages.1.content.0: Invalid `signature` in `thinking` "
            "block: {found}"
        },
        checks.changed_thinking,
        "https://github.com/anthropics/anthropic-sdk-python/issues/1598",
        "sends it back as it came, and only to the model that it came from",
    ),
    Rule(
        "thinking that a model without it is sent",
        {"bedrock-nova": "The model returned the following errors: reasoningContent is not supported: {found}"},
        checks.changed_thinking,
        "https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-supported-models-features.html",
        "sends it back only to the model that it came from",
        inferred=True,
    ),
    Rule(
        "calls without `reasoning_content` while thinking",
        {
            "deepseek": "The reasoning_content in the thinking mode must be passed back to the API.",
            "kimi": "thinking is enabled but reasoning_content is missing in assistant tool call message at index "
            "{found}",
        },
        checks.reasoning_content_missing,
        "https://github.com/anomalyco/opencode/issues/24083, https://github.com/mastra-ai/mastra/issues/12592",
        "sends it back; where it sees no thinking that came so, asks again with an empty one and remembers it",
        may_be_learned=True,
    ),
    Rule(
        "calls of the loop under way without their `thought_signature`",
        {
            "gemini": "Function call is missing a thought_signature in functionCall parts. This is required for tools "
            "to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, "
            "function call `default_api:{found}` , position 2."
        },
        checks.signature_missing,
        "https://ai.google.dev/gemini-api/docs/thought-signatures, https://github.com/labring/aiproxy/issues/450",
        "sends back `extra_content` as it came; where it is lost, asks again with what the documentation gives in its "
        "place and remembers it",
        may_be_learned=True,
    ),
    Rule(
        "the same, without `reasoning_details`",
        {
            "openrouter-gemini": "Gemini models require OpenRouter reasoning details to be preserved in each request. "
            "Upstream error: Function call is missing a thought_signature: `{found}`"
        },
        checks.details_missing,
        "https://github.com/janhq/jan/issues/7009, https://github.com/RooCodeInc/Roo-Code/pull/10640",
        "sends back `reasoning_details` as they came; where they are lost, asks again with the same in their place and "
        "remembers it",
        may_be_learned=True,
    ),
    Rule(
        "the same, where the id carries the signature",
        {"litellm-gemini": "Function call is missing a thought_signature in functionCall parts: `{found}`"},
        checks.signed_id_changed,
        "https://github.com/BerriAI/litellm/pull/16895",
        "takes ids back as it gave them out, however long",
    ),
    # The schema of an answer.
    Rule(
        "a schema of the answer, by a model that cannot be constrained",
        {"bedrock-nova": "outputConfig is not supported by this model: {found}"},
        checks.any_output_schema,
        "https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html",
        "tells the model the schema, and validates the answer",
        inferred=True,
    ),
    Rule(
        "a schema of the answer that is open, recursive, too large or limits values",
        {
            f"{CLAUDE} bedrock-claude-thinking": "output_config.format.schema: For 'object' type, "
            "'additionalProperties' must be explicitly set to false: {found}"
        },
        checks.open_output_schema,
        "https://docs.claude.com/en/docs/build-with-claude/structured-outputs",
        "leaves limits out of it, and tells the model; tells it the whole schema where it cannot be expressed so",
    ),
    Rule(
        "a schema of the answer that strict mode does not take, or that is no object",
        {f"{OPENAI} {RESPONSES}": "Invalid schema for 'response': {found} is not permitted."},
        checks.odd_strict_schema,
        "https://platform.openai.com/docs/guides/structured-outputs",
        "leaves limits out of it, and tells the model; sends it without `strict` where it cannot be expressed so",
    ),
    # How much it thinks.
    Rule(
        "a thinking budget, by Claude since 4.7",
        {NEW_CLAUDE: "thinking.type.{found}: this model takes adaptive thinking only"},
        checks.thinking_of("enabled"),
        "https://docs.anthropic.com/en/docs/build-with-claude/adaptive-thinking",
        "asks for an effort",
    ),
    Rule(
        "adaptive thinking or an effort, by Claude before 4.6",
        {OLD_CLAUDE: "adaptive thinking is not supported on this model: {found}"},
        checks.newer_thinking,
        "https://docs.anthropic.com/en/docs/build-with-claude/adaptive-thinking",
        "asks with a budget",
    ),
    Rule(
        "temperature or top_p, by Claude since 4.7",
        {NEW_CLAUDE: "{found}: not supported by this model"},
        checks.sampling,
        "https://docs.anthropic.com/en/docs/build-with-claude/adaptive-thinking",
        "sends none",
    ),
    Rule(
        "thinking that is disabled, by Sonnet 5.5",
        {"anthropic-bound": "thinking.type: use 'between_tools' in the place of '{found}'"},
        checks.thinking_of("disabled"),
        "https://github.com/pydantic/pydantic-ai/blob/main/pydantic_ai_slim/pydantic_ai/profiles/anthropic.py",
        "asks for `between_tools`",
    ),
    Rule(
        "a forced call, by Sonnet 5.5, Kimi and the smaller models of Bedrock",
        {
            "anthropic-bound": "tool_choice.{found} is not supported by this model",
            "kimi kimi-efforts": "tool_choice '{found}' is not supported",
            "bedrock-gpt-oss bedrock-qwen": "This model doesn't support the toolConfig.toolChoice.{found} field.",
        },
        checks.forced_call,
        "https://github.com/pydantic/pydantic-ai/blob/main/pydantic_ai_slim/pydantic_ai/providers/bedrock.py",
        "leaves the choice to the model",
    ),
    Rule(
        "a forced call, by DeepSeek V4 while it thinks",
        {"deepseek-efforts": "Thinking mode does not support this tool_choice: {found}"},
        checks.forced_call_while_thinking,
        "https://api-docs.deepseek.com/guides/thinking_mode",
        "leaves the choice to the model",
    ),
    Rule(
        "calls without `reasoning_content` while thinking, by DeepSeek V4 and Kimi K3",
        {"deepseek-efforts kimi-efforts": "The reasoning_content in the thinking mode must be passed back: {found}"},
        checks.reasoning_content_missing,
        "https://api-docs.deepseek.com/guides/thinking_mode",
        "sends it back, or an empty one",
    ),
    *(
        Rule(
            f"a level of reasoning that {who} does not have",
            {families: "Unsupported value: '{found}' is not supported with this model."},
            checks.other_levels(*levels.split()),
            source,
            "asks for the nearest",
        )
        for who, families, levels, source in LEVELS
    ),
    *(
        Rule(
            f"fields of the model that {who} on Bedrock does not know",
            {families: "extraneous key [{found}] is not permitted"},
            checks.unknown_model_fields(*fields.split()),
            "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html",
            "asks in that model's words",
        )
        for who, families, fields in MODEL_FIELDS
    ),
    # Responses.
    Rule(
        "fields that Responses does not know",
        {RESPONSES: "Unknown parameter: '{found}'."},
        checks.unknown_fields(RESPONSES_FIELDS),
        "https://platform.openai.com/docs/api-reference/responses/create",
        "sends the documented ones",
    ),
    Rule(
        "fields of an item that Responses does not know",
        {RESPONSES: "Unknown parameter: '{found}'."},
        checks.unknown_item_fields,
        "https://platform.openai.com/docs/api-reference/responses/create",
        "sends the documented ones",
    ),
    Rule(
        "the id of an item that is not stored",
        {
            RESPONSES: "Item with id '{found}' not found. Items are not persisted when `store` is set to false. Try "
            "again with `store` set to true, or remove this item from your input."
        },
        checks.item_ids,
        "https://github.com/can1357/oh-my-pi/issues/41, https://github.com/anomalyco/opencode/issues/8987",
        "sends items without their ids, and reasoning encrypted",
        status=404,
    ),
    Rule(
        "reasoning that neither a message nor a call follows",
        {RESPONSES: "Item '{found}' of type 'reasoning' was provided without its required following item."},
        checks.reasoning_without_successor,
        "https://github.com/openai/openai-node/issues/1567, https://github.com/vercel/ai/issues/7099",
        "sends back what reasoning led to behind it, or leaves it out",
    ),
    Rule(
        "reasoning without its `summary`",
        {RESPONSES: "Missing required parameter: '{found}'."},
        checks.reasoning_without_summary,
        "https://github.com/newo-ether/Agora/issues/141",
        "sends the summary, even if it is empty",
    ),
    Rule(
        "encrypted reasoning of another account, or changed",
        {RESPONSES: "The encrypted content {found} could not be verified."},
        checks.changed_thinking,
        "https://github.com/openai/codex/issues/8145, https://github.com/Wei-Shaw/sub2api/issues/3038",
        "sends it back as it came, and only to the model that it came from; asks again without any reasoning",
        may_be_learned=True,
    ),
    Rule(
        "an assistant's message in the parts of a user's",
        {RESPONSES: "Invalid value: '{found}'. Supported values are: 'output_text' and 'refusal'."},
        checks.inputs_of_the_assistant,
        "https://github.com/sunwu51/TabPilot/pull/46",
        "sends it as text",
    ),
    Rule(
        "a tool in the shape of Chat Completions",
        {RESPONSES: "Missing required parameter: '{found}'."},
        checks.wrapped_tools,
        "https://platform.openai.com/docs/guides/migrate-to-responses",
        "sends it flat",
    ),
    Rule(
        "a tool that does not say `strict: false`, with a schema that is not strict",
        {
            RESPONSES: "Invalid schema for function '{found}': In context=(), 'additionalProperties' is required to be "
            "supplied and to be false."
        },
        checks.loose_tools,
        "https://github.com/open-webui/open-webui/pull/30046, https://github.com/letta-ai/letta/issues/3137",
        "says it",
    ),
    Rule(
        "fewer than 16 output tokens",
        {
            RESPONSES: "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got "
            "{found} instead."
        },
        checks.few_output_tokens,
        "https://github.com/vectorize-io/hindsight/issues/58",
        "asks for 16",
    ),
    Rule(
        "a call's id over 64 long",
        {
            RESPONSES: "Invalid 'input[1].call_id': string too long. Expected a string with maximum length 64, but "
            "got a longer one: {found}"
        },
        checks.misfit(r"(?s:.{1,64})", "call ids"),
        "https://github.com/AnswerDotAI/fastllm/issues/45, https://github.com/decolua/9router/issues/393",
        "rewrites it in the request, for the call and its result",
    ),
    # Marks for a prompt cache.
    Rule(
        "more than four cache marks",
        {
            CLAUDE: "A maximum of 4 blocks with cache_control may be provided. Found {found}.",
            CONVERSE: "The number of cachePoint blocks exceeds the limit of 4: {found}",
        },
        checks.many_marks,
        "https://github.com/tghamm/Anthropic.SDK/issues/50",
        "sets four at most",
    ),
    Rule(
        "a cache mark on thinking",
        {CLAUDE: "{found}.cache_control: Extra inputs are not permitted"},
        checks.marks_on("thinking", "redacted_thinking"),
        "https://github.com/Wei-Shaw/sub2api/issues/225",
        "marks what users and tools say",
    ),
    Rule(
        "a mark of an hour after one of five minutes",
        {
            f"{CLAUDE} {CONVERSE}": "{found}.cache_control.ttl: a ttl='1h' cache_control block must not come after a "
            "ttl='5m' cache_control block"
        },
        checks.long_after_short_mark,
        "https://github.com/karthink/gptel/issues/977",
        "gives all marks of a request one lifetime",
    ),
    Rule(
        "a cache point that is the first of its list, or follows a document or a video",
        {CONVERSE: "{found}: cachePoint is not supported here"},
        checks.marks_on("nothing", "document", "video", "reasoningContent"),
        "https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html",
        "puts it after what users say and tools answer",
        inferred=True,
    ),
    Rule(
        "a cache point among the tools of Nova",
        {"bedrock-nova": "Malformed input request: #/toolConfig/tools/1: extraneous key [cachePoint] is not permitted"},
        checks.marks_on("toolSpec", place="tools"),
        "https://github.com/NousResearch/hermes-agent/issues/97281",
        "sets none; where another model refuses one, asks again without those in that place and remembers it",
    ),
    Rule(
        "a cache point after a result or an image, by Nova",
        {
            "bedrock-nova": "Malformed input request: #/messages/6/content/1: extraneous key [cachePoint] is not "
            "permitted ({found})"
        },
        checks.marks_on("toolResult", "image", "toolUse"),
        "https://github.com/aws-samples/bedrock-engineer/pull/71, "
        "https://github.com/aws-samples/generative-ai-use-cases/pull/1077",
        "sets them after text alone, that of an answer included",
    ),
    Rule(
        "a cache point of an hour, by Nova",
        {"bedrock-nova": "cachePoint.ttl in {found} is not supported"},
        checks.long_mark,
        "https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html",
        "sets no other than of five minutes",
    ),
    # Images.
    Rule(
        "an image of another type",
        {EVERYONE: "You uploaded an unsupported image: {found}. Please make sure your image is valid."},
        checks.foreign_image,
        "https://docs.anthropic.com/en/docs/build-with-claude/vision",
        "refuses it in the newest message; puts a line in its place in older ones",
    ),
    Rule(
        "an image that is not base64",
        {EVERYONE: "messages.0.content.0.image.source.base64: invalid base64 data: {found}"},
        checks.broken_image,
        "https://docs.anthropic.com/en/docs/build-with-claude/vision",
        "refuses it in the newest message; puts a line in its place in older ones",
    ),
    Rule(
        "a document that is no PDF, or none at all",
        {
            CLAUDE: "messages.0.content.0.pdf.source.base64.data: The PDF specified was not valid. ({found})",
            f"{OPENAI} openrouter-gemini": "Invalid file data: '{found}'. Expected a base64-encoded data URL with an "
            "application/pdf MIME type.",
        },
        checks.foreign_document("application/pdf"),
        "https://platform.openai.com/docs/guides/pdf-files, https://docs.anthropic.com/en/docs/build-with-claude/pdf-support",
        "looks into it, and refuses it in the newest message; sends text as text, others as a line",
    ),
    Rule(
        "a document without a name",
        {
            f"{OPENAI} openrouter-gemini": "Missing required parameter: 'messages[0].content[0].file.filename'. "
            "({found})"
        },
        checks.unnamed_document,
        "https://platform.openai.com/docs/guides/pdf-files",
        "names it",
        inferred=True,
    ),
    Rule(
        "any document, by servers that know none",
        {
            "deepseek kimi gemini mistral litellm-claude litellm-gemini vllm-gemma vllm-mistral vllm-llama ollama "
            "ollama-gemma llama-server": "invalid message content type: file ({found})"
        },
        checks.any_document,
        "https://docs.ollama.com/api/openai-compatibility",
        "refuses it in the newest message; sends text as text, others as a line",
        inferred=True,
    ),
    Rule(
        "a document that is not what its format says",
        {CONVERSE: "The document at {found} is not valid."},
        checks.broken_document,
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html",
        "looks into it, and refuses it in the newest message",
        inferred=True,
    ),
    Rule(
        "a document's name with other signs than letters, digits, single spaces, hyphens and brackets",
        {
            CONVERSE: "The document file name can only contain alphanumeric characters, whitespace characters, "
            "hyphens, parentheses, and square brackets. The name can't contain more than one consecutive whitespace "
            "character: {found}"
        },
        checks.foreign_document_name,
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html",
        "leaves the others out",
    ),
    Rule(
        "two documents of one name",
        {CONVERSE: "Document names must be unique: {found}"},
        checks.document_name_twice,
        "https://github.com/langchain-ai/langchain-aws/issues/255",
        "numbers them",
        inferred=True,
    ),
    Rule(
        "a document without text in its message",
        {CONVERSE: "A text block must be included when using documents. (messages.{found})"},
        checks.document_without_text,
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html",
        "adds a line",
    ),
    Rule(
        "a document beside a tool's result, by Claude",
        {"bedrock-claude-thinking": "messages.{found}: document blocks cannot be used with tool result blocks"},
        checks.document_beside_result,
        "https://github.com/pydantic/pydantic-ai/issues/3250",
        "puts a short assistant's turn between them",
        inferred=True,
    ),
    Rule(
        "a document of the assistant's",
        {f"{CLAUDE} {CONVERSE}": "messages.{found}: documents are only allowed in user messages"},
        checks.document_of_assistant,
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html",
        "has none",
    ),
    Rule(
        "more than 5 documents",
        {CONVERSE: "Too many documents: {found}. The maximum is 5."},
        checks.too_many_documents,
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html",
        "takes 5 (`MAX_DOCUMENTS`), and puts a line in the place of older ones",
    ),
    Rule(
        "a document of more than 4.5 MB",
        {CONVERSE: "The document at {found} exceeds 4.5 MB."},
        checks.too_large_document,
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html",
        "refuses it, with 413",
    ),
    Rule(
        "citations of a model that has none",
        {"bedrock-nova": "This model doesn't support citations. ({found})"},
        checks.citations_of_another_model,
        "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CitationsConfig.html",
        "asks Claude alone for them",
        inferred=True,
    ),
    Rule(
        "citations of some documents, or beside a schema",
        {CLAUDE: "{found}: must be enabled on all or none of the documents, and not with output formats"},
        checks.some_citations,
        "https://docs.anthropic.com/en/docs/build-with-claude/citations",
        "asks for those of all documents, unless the answer has a schema",
    ),
    Rule(
        "an image by its URL",
        {"ollama ollama-gemma": "invalid image input"},
        checks.image_url,
        "https://docs.ollama.com/api/openai-compatibility",
        "passes it on; for Bedrock, whose API has no place for it, refuses it itself",
    ),
)
