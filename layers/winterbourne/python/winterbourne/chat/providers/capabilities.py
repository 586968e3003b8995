"""What each model takes: one table of model families, and what MODEL_CAPABILITIES says of models beside it. Pure.

The rows are from the providers' documentation and from what public clients have found; what no row says, a refusal
teaches (`lessons`). A row's pattern is searched for in `HOST MODEL`; of rows that match, the later ones win
field by field. `refuses` takes names away from `options`.
"""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec

from winterbourne.chat.core.capabilities import BASIC_OPTIONS, Capabilities
from winterbourne.chat.core.documents import DOCUMENT_TYPES, PDF, TEXT_TYPES
from winterbourne.chat.core.messages import ReasoningEffort
from winterbourne.chat.settings import by_patterns

__all__ = ["ALL_OPTIONS", "LEVELS", "Family", "Way", "family_of", "nearest_level", "parse_capabilities"]

LEVELS: Final[tuple[ReasoningEffort, ...]] = get_args(ReasoningEffort)
"""From no reasoning to the most."""

_SAMPLING: Final = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty"})
_CLAUDE_OPTIONS: Final = BASIC_OPTIONS | {"top_p", "stop"}
ALL_OPTIONS: Final = _SAMPLING | BASIC_OPTIONS | {"stop", "seed", "parallel_tool_calls"}
"""Of Chat Completions."""


Way: TypeAlias = Literal[
    "", "effort", "openai", "nested", "adaptive", "between_tools", "budget", "switch", "deepseek", "qwen", "nova"
]
"""How reasoning is asked for, in `reasoning`; empty for no way."""


class Family(Capabilities, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the models of a family take, and how their provider is asked for it.

    Attributes:
        asks: How reasoning is asked for.
        forces_tools: Whether it can be made to call a tool; not while it thinks, if `not_while_thinking` has
            `tool_choice`.
        echoes: Whether it wants `reasoning_content` back in each turn that called a tool, be it empty.
        binds: Whether it refuses its thinking after anything before it has changed, unless it is told to drop it.
        max_output: The most output tokens of one turn; 0 if that is not known.
    """

    asks: Way = ""
    forces_tools: bool = True
    echoes: bool = False
    binds: bool = False
    max_output: int = 0


def _levels(first: ReasoningEffort, last: ReasoningEffort, *leave_out: ReasoningEffort) -> tuple[ReasoningEffort, ...]:
    span = LEVELS[LEVELS.index(first) : LEVELS.index(last) + 1]
    return tuple(level for level in span if level not in leave_out)


_PDF: Final = frozenset({PDF})
_ALL_DOCUMENTS: Final = frozenset(DOCUMENT_TYPES)
_PLAIN: Final[dict[str, Any]] = {"reasoning": ()}
_TEXT_ONLY: Final[dict[str, Any]] = {"images": False, "documents": frozenset()}
_NO_SAMPLING: Final[dict[str, Any]] = {"refuses": _SAMPLING}
_ALWAYS: Final[dict[str, Any]] = {"thinks": True, "asks": "", "reasoning": ("high",)}
_GPT_ALWAYS: Final[dict[str, Any]] = {"refuses": _SAMPLING | {"stop"}, "thinks": True}
_EFFORT: Final[dict[str, Any]] = {"asks": "effort"}
_NO_MINIMAL: Final = _levels("none", "max", "minimal")
_ADAPTIVE: Final[dict[str, Any]] = {"asks": "adaptive", "reasoning": _NO_MINIMAL, "window": 1_000_000}

_Rows: TypeAlias = tuple[tuple[str, Mapping[str, Any]], ...]

# https://docs.anthropic.com/en/docs/about-claude/models/overview, …/build-with-claude/{effort,adaptive-thinking}
_CLAUDE: Final[_Rows] = (
    (r"claude-", {"reasoning": LEVELS, "asks": "budget", "citations": True, "window": 200_000}),
    (
        r"claude-",
        {"not_while_thinking": frozenset({"temperature", "top_p"}), "max_output": 64_000, "blank_stop": False},
    ),
    (r"claude-(2|3-(5|opus|sonnet|haiku)|instant)", {**_PLAIN, "max_output": 8192}),
    (r"claude-(2|3-(opus|sonnet|haiku)|instant)", {"max_output": 4096}),
    (r"claude-(2|3-(opus|sonnet|haiku)|instant|3-5-haiku)", {"documents": frozenset(), "citations": False}),
    (r"claude-opus-4(-[01]\b|-2025|$|@)", {"max_output": 32_000}),
    (r"claude-((opus|sonnet)-4-[5-9]|haiku-4-5|[a-z]+-5\b)", {"schema": True}),
    (r"claude-((opus|sonnet)-4-[6-9]|[a-z]+-5\b|mythos-preview)", {**_ADAPTIVE, "max_output": 128_000}),
    # …/about-claude/models/migrating-to-claude-4
    (r"claude-(opus-4-1\b|(opus|sonnet|haiku)-4-[56])", {"one_sampler": True}),
    (r"claude-(opus-4-[78]|[a-z]+-5\b)", _NO_SAMPLING),
    (r"claude-((opus|sonnet|fable|mythos)-5\b|haiku-5-5|mythos-preview)", {"thinks": True}),
    (r"claude-sonnet-5-5", {"asks": "between_tools"}),
    (r"claude-((fable|mythos)-5|opus-5-5|mythos-preview)", {"reasoning": _levels("low", "max")}),
    (r"claude-((fable|mythos)-5-[12]|(opus|sonnet)-5-5)", {"forces_tools": False}),
    (r"claude-(fable-5-[12]|mythos-5-2|(opus|sonnet|haiku)-5-5)", {"binds": True}),
)

_MARKS: Final = frozenset({"tools", "system", "messages", "1h"})
# https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html: other models refuse every cache point.
_CACHE_POINTS: Final[_Rows] = (
    (r"anthropic\.claude-", {"cache": _MARKS}),
    (r"claude-(3-|\w+-4-(1-)?\d{8})", {"cache": _MARKS - {"1h"}}),
    (r"claude-(v2|instant|3-(opus|sonnet|haiku)|3-5-sonnet-20240620)", {"cache": frozenset()}),
    (r"nova-(?!canvas|reel|sonic)", {"cache": frozenset({"system", "messages", "answers"})}),
)

# Others on Bedrock, whose own fields for reasoning differ, and an unknown one is refused.
# https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-supported-models-features.html
_BEDROCK: Final[_Rows] = (
    (r"claude-fable-5", {"schema": False}),
    (r"nova", {"window": 300_000, "max_output": 10_000}),
    # At `high`, Nova takes no limit of tokens: https://docs.aws.amazon.com/nova/latest/nova2-userguide/
    (r"nova-2", {"asks": "nova", "reasoning": ("none", "low", "medium"), "max_output": 64_000}),
    (r"nova-(2|premier)", {"window": 1_000_000}),
    (r"nova-micro", {**_TEXT_ONLY, "window": 128_000}),
    (r"(openai\.|glm|qwen3|deepseek|minimax|llama3-1|kimi-k2-)", _TEXT_ONLY),
    (r"openai\.gpt-oss", {**_EFFORT, "thinks": True, "reasoning": _levels("low", "high")}),
    (r"(openai\.gpt-[56]|xai\.)", {**_NO_SAMPLING, "asks": "nested", "thinks": True}),
    (r"openai\.gpt-[56]", {"reasoning": _NO_MINIMAL, "window": 1_050_000}),
    (r"(openai\.gpt-6-astra|openai\.gpt-6\.1-sol|xai\.)", {"reasoning": _levels("low", "max")}),
    (r"qwen3(?!-coder)", {"asks": "qwen", "reasoning": ("none", "high"), "window": 262_144}),
    (r"(deepseek\.v3\.2|zai\.glm)", {**_EFFORT, "reasoning": ("none", "high")}),
    (r"zai\.glm-5\.3", {"thinks": True, "reasoning": _levels("low", "max")}),
    (r"deepseek\.r1", {**_ALWAYS, "tools": False}),
    (r"(llama|mistral|mixtral|jamba|command|palmyra|deepseek|qwen|gpt-oss)", {"forces_tools": False}),
    (r"(titan-text|mistral-7b|mixtral)", {**_TEXT_ONLY, "tools": False, "system": False, "window": 32_000}),
)

_CHAT_COMPLETIONS: Final[_Rows] = (
    (r"(api\.openai|azure)\.com ", {"documents": _PDF, "schema": True, "cache": frozenset({"key"})}),
    (r"\b(gpt-(3\.5|4)|chatgpt|gpt-5-chat)", _PLAIN),
    (r"\bgpt-4\.1", {"window": 1_047_576, "max_output": 32_768}),
    # https://platform.openai.com/docs/guides/reasoning
    (r"\bo[134]\b", {**_GPT_ALWAYS, "reasoning": _levels("low", "high"), "window": 200_000}),
    (r"\bo[134]\b", {"refuses": _SAMPLING | {"stop", "parallel_tool_calls"}}),
    (r"\bgpt-[56](?!-chat)", {"window": 400_000, "max_output": 128_000, "not_while_thinking": _SAMPLING}),
    (r"\bgpt-5(?![.\d]|-chat)", {**_GPT_ALWAYS, "reasoning": _levels("minimal", "high")}),
    (r"\bgpt-5\.1", {"reasoning": _levels("none", "high", "minimal")}),
    (r"\b(gpt-5\.[2-9]|gpt-6)", {"reasoning": _NO_MINIMAL}),
    (r"\b(gpt-5\.[5-9]|gpt-6)", {"thinks": True}),
    (r"\b(gpt-5\.[6-9]|gpt-6)", {"window": 1_050_000}),
    # https://developers.openai.com/api/docs/guides/compaction
    (r"api\.openai\.com .*\bgpt-(5\.[2-9]|6)", {"compacts": True}),
    (r"\b(gpt-6-astra|gpt-6\.1-sol|gpt-5\.1-codex)", {**_GPT_ALWAYS, "reasoning": _levels("low", "max")}),
    (r"\bgpt-5\.\d-pro", {**_GPT_ALWAYS, "reasoning": _levels("medium", "max")}),
    (r"\bgpt-5-pro", {"reasoning": ("high",)}),
    (r"\bgpt-5\.\d-chat", {**_GPT_ALWAYS, "reasoning": ("medium",)}),
    (r"\bgpt-oss", {"thinks": True, "reasoning": _levels("low", "high")}),
    # https://ai.google.dev/gemini-api/docs/openai#thinking
    (r"\bgemini-", {"window": 1_048_576, "max_output": 65_536, "reasoning": _levels("low", "high")}),
    (r"\bgemini-[23]", {"thinks": True}),
    (r"\bgemini-2\.5-flash", {"reasoning": _levels("none", "high", "minimal")}),
    (r"\bgemini-3(\.\d)?-flash(?<!3\.[78]-flash)", {"reasoning": _levels("minimal", "high")}),
    (r"\bgemini-3-pro", {"reasoning": ("low", "high")}),
    (r"\bgemini-(1|2\.0)", {**_PLAIN, "thinks": False}),
    # https://api-docs.deepseek.com/guides/thinking_mode
    (r"\bdeepseek-(chat|reasoner|r1|v[23]|v4-pro)", _TEXT_ONLY),
    (r"deepseek\.com ", {"asks": "deepseek", "thinks": True, "reasoning": ("none", "low", "high", "max")}),
    (r"deepseek\.com ", {"echoes": True, "not_while_thinking": frozenset({"tool_choice"})}),
    (r"deepseek\.com .*deepseek-chat", {"thinks": False}),
    (r"deepseek\.com .*deepseek-reasoner", _ALWAYS),
    (r"deepseek\.com .*deepseek-v4", {"window": 1_000_000}),
    # https://platform.kimi.ai/docs/guide/use-thinking-models
    (r"moonshot\.\w+ ", {**_PLAIN, "forces_tools": False, "window": 262_144}),
    (r"moonshot\.\w+ .*kimi-(k2\.|k3|k2-thinking|thinking)", {"echoes": True}),
    (r"moonshot\.\w+ .*kimi-(k2\.7|k2-thinking|thinking)", _ALWAYS),
    (r"moonshot\.\w+ .*kimi-k2\.[56]", {"asks": "switch", "thinks": True, "reasoning": ("none", "high")}),
    (r"moonshot\.\w+ .*kimi-k3", {**_EFFORT, "thinks": True, "reasoning": ("low", "high", "max")}),
    # https://docs.mistral.ai/capabilities/reasoning
    (r"\b(mistral-(large|nemo|7b)|mixtral|codestral|devstral|ministral|pixtral)", _PLAIN),
    (r"\bmagistral", _ALWAYS),
    (r"\b(llama-?[23]|gemma-?[123]|phi-?[34]\b|qwen-?2)", _PLAIN),
    (r"\bgemma-?[123]", {"tools": False}),
    (r"\bgemma-?[12]", {"system": False, "window": 8192}),
    # It finds the nearest level itself: https://openrouter.ai/docs/use-cases/reasoning-tokens
    (r"openrouter\.ai ", {"asks": "nested", "reasoning": None, "documents": _PDF}),
)

_ANY: Final = ""
# A model that no other row knows is asked for reasoning in its API's first way.
_FAMILIES: Final[Mapping[str, _Rows]] = {
    "anthropic": (
        (_ANY, {"options": _CLAUDE_OPTIONS | {"parallel_tool_calls"}, "image_urls": True, "max_temperature": 1.0}),
        (_ANY, {"reasoning": None, "asks": "budget", "not_while_thinking": frozenset({"temperature", "top_p"})}),
        (r"(^api\.anthropic\.com |claude)", {"cache": _MARKS}),  # other servers may refuse them
        (r"claude", {"documents": TEXT_TYPES | _PDF, "document_urls": True}),  # of others behind this API, few take any
        *_CLAUDE,
        (r"claude-opus-4-1", {"schema": True}),
        # https://platform.claude.com/docs/en/build-with-claude/compaction-threshold
        (r"api\.anthropic\.com claude-((opus|sonnet)-4-6|opus-4-[78]|[a-z]+-5\b|mythos-preview)", {"compacts": True}),
    ),
    "bedrock": (
        (_ANY, {"options": _CLAUDE_OPTIONS, "max_temperature": 1.0}),
        (_ANY, {"documents": _ALL_DOCUMENTS, "document_bytes": 4_500_000}),
        *_CLAUDE,
        *_BEDROCK,
        *_CACHE_POINTS,
    ),
    "openai": (
        (_ANY, {"options": ALL_OPTIONS, "reasoning": None, "asks": "openai"}),
        *_CHAT_COMPLETIONS,
    ),
}


@lru_cache(maxsize=64)
def family_of(provider: str, host: str, model_id: str, overrides: str = "", *, image_urls: bool = False) -> Family:
    """What a model takes.

    Args:
        provider: The provider's name.
        host: The server's host name.
        model_id: The model's id as the provider spells it.
        image_urls: Whether the provider takes images by URL.
        overrides: MODEL_CAPABILITIES, valid; its first pattern that matches wins over the table, field by field.
    """
    where = f"{host} {model_id}".lower()
    fields: dict[str, Any] = {"image_urls": image_urls}
    for pattern, values in _FAMILIES.get(provider, ()):
        if re.search(pattern, where):
            fields |= values
    own = msgspec.json.decode(overrides or "{}", type=dict[str, dict[str, Any]])
    matching = (own[each] for each in own if fnmatch.fnmatchcase(model_id, each))
    fields["options"] = fields.get("options", BASIC_OPTIONS) - fields.pop("refuses", set())
    return msgspec.convert(msgspec.to_builtins(fields) | next(matching, {}), Family)


def parse_capabilities(text: str) -> None:
    """Validate MODEL_CAPABILITIES: a JSON object of patterns, such as `claude-*`, each with fields of a `Family`.

    Raises:
        SettingsError: It is no such object; the message names the pattern, and the field or the value that is wrong.
    """
    by_patterns("MODEL_CAPABILITIES", text, Family)


def nearest_level(level: ReasoningEffort, levels: Sequence[ReasoningEffort] | None) -> ReasoningEffort:
    """The nearest level of those that a model has, the higher of two. One that is not known has all but `max`."""
    levels = LEVELS[:-1] if levels is None else levels
    at = LEVELS.index(level)
    return min(levels, key=lambda each: (abs(LEVELS.index(each) - at), -LEVELS.index(each)))
