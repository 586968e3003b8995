"""Classifies the reasons for which models stop: one table for all providers, since gateways pass on each other's.

`docs/reference/providers.md` has the table.
"""

import re
from typing import Final, Literal, TypeAlias

from winterbourne.chat.core.events import StopReason

__all__ = ["STOP_REASONS", "classify_stop_reason"]

Classification: TypeAlias = StopReason | Literal["error", "unknown"]

_NAMES: Final[dict[StopReason, str]] = {
    "stop": "stop end end_turn eos eos_token stop_sequence stop_token stopped complete completed done finish finished",
    "tool_calls": "tool_calls tool_call tool_use function_call function_calls",
    "max_tokens": """
        length max_tokens model_length max_length max_output_tokens token_limit context_length context_window
        context_length_exceeded model_context_window_exceeded max_new_tokens max_completion_tokens
        token_limit_reached max_tokens_reached max_messages truncated
    """,
    "content_filter": """
        content_filter content_filtered safety image_safety recitation image_recitation
        prohibited_content image_prohibited_content blocklist spii sensitive blocked moderation
        content_policy content_policy_violation policy_violation safety_violation guardrail guardrails unsafe
    """,
    "refusal": "refusal refused guardrail_intervened",
    "pause": "pause_turn",
}
STOP_REASONS: Final[dict[str, Classification]] = {
    name: reason for reason, names in _NAMES.items() for name in names.split()
}
"""The reasons that are known, in lower case."""
_ERROR_WORDS: Final = """
    error abort cancel fail time.?out deadline interrupt disconnect insufficient malformed unavailable overload busy
    exhaust unexpected too_many missing invalid killed preempt crash unspecified no_image ^other$ ^image_other$
    lost clos dropp terminat evict throttl rate_?limit quota exceed shut_?down out_of_memory ^oom$ incomplete ^partial$
    down$
"""
_ERROR: Final = "|".join(_ERROR_WORDS.split())

_CAMEL_CASE: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def classify_stop_reason(reason: str) -> Classification:
    """The kind of a provider's reason, in any case, with hyphens or underscores or in camel case.

    `error` means that the provider gave up: the answer is not whole. An `unknown` reason may mean anything.
    """
    name = _CAMEL_CASE.sub("_", reason.strip()).lower().replace("-", "_").replace(" ", "_")
    name = name.removeprefix("finish_reason_")
    return STOP_REASONS.get(name) or ("error" if re.search(_ERROR, name) else "unknown")
