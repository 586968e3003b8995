"""Stop reasons: one table for all providers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.providers.stop_reasons import STOP_REASONS, classify_stop_reason


@pytest.mark.parametrize(
    ("reasons", "kind"),
    [
        ("stop end_turn stop_sequence eos eos_token STOP FINISH_REASON_STOP COMPLETE", "stop"),
        ("tool_calls tool_use function_call tool-calls TOOL_CALL", "tool_calls"),
        ("length max_tokens MAX_TOKENS model_length model_context_window_exceeded max_output_tokens", "max_tokens"),
        ("content_filter content_filtered SAFETY RECITATION PROHIBITED_CONTENT", "content_filter"),
        ("BLOCKLIST SPII sensitive content-filter IMAGE_SAFETY", "content_filter"),
        ("refusal guardrail_intervened", "refusal"),
        ("pause_turn", "pause"),
        ("error network_error abort aborted insufficient_system_resource timeout cancelled failed", "error"),
        ("MALFORMED_FUNCTION_CALL malformed_tool_use malformed_model_output UNEXPECTED_TOOL_CALL OTHER", "error"),
        ("TOO_MANY_TOOL_CALLS MISSING_THOUGHT_SIGNATURE FINISH_REASON_UNSPECIFIED server_error", "error"),
        ("compaction whatever", "unknown"),
    ],
)
def test_each_reason_has_its_kind_in_any_spelling(reasons: str, kind: str) -> None:
    assert {reason: classify_stop_reason(reason) for reason in reasons.split()} == dict.fromkeys(reasons.split(), kind)


@given(st.text())
def test_any_text_has_a_kind(reason: str) -> None:
    assert classify_stop_reason(reason) in {*STOP_REASONS.values(), "error", "unknown"}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("connection_lost", "error"),
        ("rate_limit", "error"),
        ("rateLimited", "error"),
        ("terminated", "error"),
        ("quota_exceeded", "error"),
        ("evicted", "error"),
        ("oom", "error"),
        ("dropped", "error"),
        ("shutdown", "error"),
        ("worker_lost", "error"),
        ("throttled", "error"),
        ("incomplete", "error"),
        ("backend_down", "error"),
        ("maxTokens", "max_tokens"),
        ("max_new_tokens", "max_tokens"),
        ("truncated", "max_tokens"),
        ("content_policy", "content_filter"),
        ("unsafe", "content_filter"),
        ("endTurn", "stop"),
        ("toolUse", "tool_calls"),
    ],
)
def test_words_of_other_servers_mean_what_they_say(reason: str, kind: str) -> None:
    assert classify_stop_reason(reason) == kind
