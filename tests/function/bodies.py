"""Hypothesis strategies for request bodies that are nearly right, in every format at once."""

from hypothesis import strategies as st

from tests.function.conversations import json_values

__all__ = ["bodies"]

ROLES = ["user", "assistant", "system", "tool", "developer", "reasoning", "activity", "robot"]
WORDS = st.sampled_from(["", "a", "c1", "c2", "text", "image", "data:text/plain,hi", "https://example.com", "\u0000"])
KINDS = [
    "text",
    "file",
    "image",
    "image_url",
    "binary",
    "reasoning",
    "tool_call",
    "step-start",
    "tool-x",
    "dynamic-tool",
    "refusal",
]
STATES = ["input-streaming", "input-available", "output-available", "output-error", "output-denied", "streaming"]

parts = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional={
        "text": WORDS | json_values,
        "url": WORDS,
        "media_type": WORDS,
        "mediaType": WORDS,
        "data": WORDS,
        "source": st.fixed_dictionaries({"type": st.sampled_from(["data", "url", "file"]), "value": WORDS}),
        "image_url": st.fixed_dictionaries({"url": WORDS}),
        "id": WORDS,
        "name": WORDS,
        "arguments": WORDS,
        "state": st.sampled_from(STATES),
        "toolName": WORDS,
        "toolCallId": WORDS,
        "input": json_values,
        "output": json_values,
        "providerMetadata": json_values,
    },
)
calls = st.fixed_dictionaries(
    {
        "id": WORDS,
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": WORDS, "arguments": WORDS}),
    }
)
contents = WORDS | st.none() | st.lists(parts, max_size=3)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(ROLES)},
    optional={
        "id": WORDS,
        "content": contents,
        "parts": st.lists(parts, max_size=4),
        "tool_calls": st.lists(calls, max_size=2),
        "toolCalls": st.lists(calls, max_size=2),
        "tool_call_id": WORDS,
        "toolCallId": WORDS,
        "encryptedValue": WORDS,
        "metadata": json_values,
        "reasoning_content": WORDS,
        "refusal": WORDS,
    },
)
bodies = st.fixed_dictionaries(
    {"messages": st.lists(messages, max_size=4)},
    optional={
        "tools": st.lists(json_values, max_size=2) | json_values,
        "tool_choice": json_values,
        "stream": json_values,
        "store": st.booleans(),
        "context": json_values,
        "model": WORDS,
        "temperature": st.floats(allow_nan=False, allow_infinity=False),
        "threadId": WORDS,
        "id": WORDS,
    },
)
