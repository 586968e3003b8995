"""LiteLLM with this chat as its server: litellm_client.py URL. Prints {scenario: what came of it} as JSON."""

import json
import sys
from typing import Any

import litellm

TOOL = {
    "type": "function",
    "function": {
        "name": "ask_user",
        "description": "Ask",
        "parameters": {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]},
    },
}


def ask(messages: list[Any], **options: Any) -> Any:
    """One completion."""
    base = f"{sys.argv[1]}/v1"
    return litellm.completion("openai/scripted", messages, api_base=base, api_key="unused", **options)


def streamed() -> Any:
    """A stream, added up by the library."""
    messages = [{"role": "user", "content": "the weather in Paris"}]
    chunks = list(ask(messages, stream=True))
    built: Any = litellm.stream_chunk_builder(chunks, messages=messages)
    return built.choices[0].message.content


def own_tool() -> Any:
    """The caller's own tool: its call, then the answer to its result."""
    messages: list[Any] = [{"role": "user", "content": "please ask_user"}]
    called = ask(messages, tools=[TOOL]).choices[0].message
    [call] = called.tool_calls
    messages += [called.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "blue"}]
    return ask(messages, tools=[TOOL]).choices[0].message.content


def second_question() -> Any:
    """A history of the library's own messages."""
    messages: list[Any] = [{"role": "user", "content": "the weather in Paris"}]
    for question in ("the weather in Lima", "the weather in Rome"):
        messages += [ask(messages).choices[0].message.model_dump(), {"role": "user", "content": question}]
    return ask(messages).choices[0].message.content


SCENARIOS = [streamed, own_tool, second_question]
print(json.dumps({scenario.__name__: scenario() for scenario in SCENARIOS}))
