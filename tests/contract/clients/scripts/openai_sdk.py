"""The OpenAI SDK for Python: openai_sdk.py URL. Prints {scenario: what came of it} as JSON."""

import json
import sys
from typing import Any

from openai import APIStatusError, OpenAI

BASE = sys.argv[1]
CLIENT = OpenAI(base_url=f"{BASE}/v1", api_key="unused")
MODEL = "scripted"
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "ask_user",
        "description": "Ask",
        "parameters": {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]},
    },
}


def streamed() -> Any:
    """A stream, added up by the SDK."""
    messages: Any = [{"role": "user", "content": "the weather in Paris"}]
    with CLIENT.chat.completions.stream(model=MODEL, messages=messages) as stream:
        return stream.get_final_completion().choices[0].message.content


def own_tool() -> Any:
    """The caller's own tool: its call, then the answer to its result."""
    messages: Any = [{"role": "user", "content": "please ask_user"}]
    called = CLIENT.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message
    [call] = called.tool_calls or []
    messages += [called.model_dump(), {"role": "tool", "tool_call_id": call.id, "content": "blue"}]
    return CLIENT.chat.completions.create(model=MODEL, messages=messages, tools=[TOOL]).choices[0].message.content


def second_question() -> Any:
    """A history as the SDK's users carry it: the dumped message of the answer."""
    messages: Any = [{"role": "user", "content": "the weather in Paris"}]
    for question in ("the weather in Lima", "the weather in Rome"):
        answer = CLIENT.chat.completions.create(model=MODEL, messages=messages).choices[0].message
        messages += [answer.model_dump(), {"role": "user", "content": question}]
    return CLIENT.chat.completions.create(model=MODEL, messages=messages).choices[0].message.content


def unknown_model() -> Any:
    """The error of a model that is not offered."""
    try:
        CLIENT.chat.completions.create(model="huge", messages=[{"role": "user", "content": "Hi"}])
    except APIStatusError as error:
        return [type(error).__name__, error.status_code, error.code]


SCENARIOS = [streamed, own_tool, second_question, unknown_model]
print(json.dumps({scenario.__name__: scenario() for scenario in SCENARIOS}))
