"""LangChain's ChatOpenAI: langchain.py URL. Prints {scenario: what came of it} as JSON."""

import json
import sys
from typing import Any

from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

MODEL = ChatOpenAI(base_url=f"{sys.argv[1]}/v1", api_key="unused", model="scripted")


@tool  # type: ignore[untyped-decorator]
def ask_user(question: str) -> str:
    """Ask the user."""
    return "blue"


def streamed() -> Any:
    """A stream, added up by the library."""
    total: Any = AIMessageChunk(content="")
    for chunk in MODEL.stream([SystemMessage("Be brief."), HumanMessage("the weather in Paris")]):
        total += chunk
    return total.content


def own_tool() -> Any:
    """A bound tool: its call, then the answer to its result."""
    bound = MODEL.bind_tools([ask_user])
    messages: list[BaseMessage] = [HumanMessage("please ask_user")]
    called: Any = bound.invoke(messages)
    [call] = called.tool_calls
    return bound.invoke(
        [*messages, called, ToolMessage(ask_user.invoke(call["args"]), tool_call_id=call["id"])]
    ).content


def second_question() -> Any:
    """A history of the library's own messages."""
    messages: list[BaseMessage] = [HumanMessage("the weather in Paris")]
    for question in ("the weather in Lima", "the weather in Rome"):
        messages += [MODEL.invoke(messages), HumanMessage(question)]
    return MODEL.invoke(messages).content


SCENARIOS = [streamed, own_tool, second_question]
print(json.dumps({scenario.__name__: scenario() for scenario in SCENARIOS}))
