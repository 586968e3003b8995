"""An agent of pydantic-ai on Chat Completions: pydantic_ai_agent.py URL. Prints {scenario: what came of it} as JSON."""

import asyncio
import json
import sys
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

PROVIDER = OpenAIProvider(base_url=f"{sys.argv[1]}/v1", api_key="unused")
AGENT = Agent(OpenAIChatModel("scripted", provider=PROVIDER), system_prompt="Be brief.")


@AGENT.tool_plain  # type: ignore[untyped-decorator]
def ask_user(question: str) -> str:
    """Ask the user."""
    return "blue"


async def streamed() -> Any:
    """A stream, added up by the library."""
    async with AGENT.run_stream("the weather in Paris") as result:
        return await result.get_output()


async def own_tool() -> Any:
    """The agent's tool is called and its result used."""
    return (await AGENT.run("please ask_user")).output


async def second_question() -> Any:
    """A history of the library's own messages."""
    first = await AGENT.run("the weather in Paris")
    second = await AGENT.run("the weather in Lima", message_history=first.all_messages())
    return (await AGENT.run("the weather in Rome", message_history=second.all_messages())).output


async def main() -> None:
    """Run every scenario."""
    scenarios = [streamed, own_tool, second_question]
    print(json.dumps({scenario.__name__: await scenario() for scenario in scenarios}))


asyncio.run(main())
