"""How much a model is to think, in its provider's words, and the rest of a request as it takes it then. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from winterbourne.chat.core.messages import TOOL_CHOICE_AUTO, ModelOptions, ReasoningEffort
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.providers.capabilities import Family, Way, nearest_level
from winterbourne.chat.providers.opaque import fit_thinking
from winterbourne.chat.settings import ModelSettings

__all__ = ["BINDING_BETA", "fit_reasoning"]

BINDING_BETA: Final = "thinking-binding-controls-2026-08-01"
"""The beta in which Claude can be told to drop thinking that no longer fits."""

_OFF: Final = {"thinking": {"type": "disabled"}}
_ON: Final = {"thinking": {"type": "enabled"}}
_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "max": 32_768}
_OPTIONS: Final = frozenset(ModelOptions.__struct_fields__) - {"reasoning", "output"}
_MIN_BUDGET: Final = 1024


def _wire(level: ReasoningEffort) -> str:
    return "xhigh" if level == "max" else level


_WAYS: Final[Mapping[Way, Callable[[ReasoningEffort], dict[str, Any]]]] = {
    "effort": lambda level: {"reasoning_effort": level},
    "openai": lambda level: {"reasoning_effort": _wire(level)},
    "nested": lambda level: {"reasoning": {"effort": _wire(level)}},
    "switch": lambda level: _OFF if level == "none" else _ON,
    "deepseek": lambda level: _OFF if level == "none" else {**_ON, "reasoning_effort": level},
    "qwen": lambda level: {"reasoning_config": level},
    "nova": lambda level: {
        "reasoningConfig": {"type": "disabled"} if level == "none" else {"type": "enabled", "maxReasoningEffort": level}
    },
}
"""The fields that ask for a level, where no other field counts."""


def fit_reasoning(
    request: ModelRequest, family: Family, fields: Mapping[str, Any], settings: ModelSettings, *, is_signed: bool = True
) -> tuple[ModelRequest, dict[str, Any]]:
    """Ask for the reasoning that a request wants, and leave out what the model does not take, or not while it thinks.

    Args:
        request: What `drop_foreign` left of it.
        family: What the model takes.
        fields: Those of MODEL_EXTRA_BODY for the same place, which win.
        settings: The most tokens of a request that names none, and whether the text of its reasoning is wanted.
        is_signed: Whether only signed reasoning counts, for a tool loop.

    Returns:
        The request, and the fields beside its own.
    """
    max_tokens = request.max_tokens or settings.model_max_tokens
    max_tokens = min(max_tokens, family.max_output or max_tokens)
    level = nearest_level(request.reasoning, family.reasoning) if request.reasoning and family.reasoning != () else None
    asked = _asked(request, family, level, max_tokens, is_shown=settings.show_reasoning) if family.asks else {}
    if request.max_tokens:
        request = msgspec.structs.replace(request, max_tokens=max_tokens)
    if body := {**asked, **fields}:
        request, body = fit_thinking(request, body, is_signed=is_signed)
    refused = family.not_while_thinking if _thinks(family, level, body) else frozenset()
    left_out = _OPTIONS - (family.options - refused)
    if request.temperature is not None:  # of a setting, or of a request to the model that this one stands in for
        request = msgspec.structs.replace(request, temperature=min(request.temperature, family.max_temperature))
        left_out |= {"top_p"} if family.one_sampler else set()
    if "tool_choice" in refused and request.tool_choice != "none":
        request = msgspec.structs.replace(request, tool_choice=TOOL_CHOICE_AUTO)
    return msgspec.structs.replace(request, **dict.fromkeys(left_out)), body


def _thinks(family: Family, level: ReasoningEffort | None, fields: Mapping[str, Any]) -> bool:
    thinking = fields.get("thinking")
    if isinstance(thinking, dict) or family.asks == "budget":
        return isinstance(thinking, dict) and thinking.get("type") in {"enabled", "adaptive"}
    return family.thinks if level is None else level != "none"


def _asked(
    request: ModelRequest, family: Family, level: ReasoningEffort | None, max_tokens: int, *, is_shown: bool
) -> dict[str, Any]:
    if family.asks in {"adaptive", "between_tools"}:
        is_forced = request.tool_choice not in {"auto", "none"} and not family.binds
        if level or (family.thinks and not is_forced):
            return _adaptive(family, level, is_shown=is_shown)
        return {}
    if family.asks != "budget":
        return _WAYS[family.asks](level) if level else {}
    if not level or level == "none":
        return _OFF if level else {}
    budget = min(_BUDGETS[level], max_tokens * 3 // 4)
    # A signature is whole without the text only if the provider leaves that out; a model nobody knows is not asked to.
    display = {} if is_shown or family.reasoning is None else {"display": "omitted"}
    return {"thinking": {"type": "enabled", "budget_tokens": budget, **display}} if budget >= _MIN_BUDGET else {}


def _adaptive(family: Family, level: ReasoningEffort | None, *, is_shown: bool) -> dict[str, Any]:
    """Claude since 4.6. Without a level it thinks as much as it does by itself."""
    if level == "none":
        return {"thinking": {"type": "between_tools"}} if family.asks == "between_tools" else _OFF
    thinking: dict[str, Any] = {"type": "adaptive", "display": "summarized" if is_shown else "omitted"}
    if family.binds:  # histories are edited: tools come and go, older images are left out
        thinking["block_binding"] = {"prefix_mismatch_behavior": "drop_block"}
    return {"thinking": thinking, **({"output_config": {"effort": level}} if level else {})}
