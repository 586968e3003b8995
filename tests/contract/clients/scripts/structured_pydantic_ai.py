"""Structured answers with pydantic-ai: structured_pydantic_ai.py URL MODEL SCENARIOS. Prints {scenario: answer}."""

import asyncio
import json
import sys
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

MODEL = OpenAIChatModel(sys.argv[2], provider=OpenAIProvider(base_url=f"{sys.argv[1]}/v1", api_key="unused"))


class Weather(BaseModel):
    """The weather."""

    city: str
    temperature: int


async def answer(output: Any, question: str) -> Any:
    """What an agent with this kind of output answers."""
    result = await Agent(MODEL, output_type=output).run(question)
    return result.output.model_dump()


QUESTION = "the weather in Paris"
SCENARIOS = {
    "native": lambda: answer(NativeOutput(Weather), QUESTION),
    "prompted": lambda: answer(PromptedOutput(Weather), QUESTION),
    "tool": lambda: answer(ToolOutput(Weather), "please final_result 18"),
}


async def main() -> None:
    """Run the scenarios that are named."""
    print(json.dumps({name: await SCENARIOS[name]() for name in sys.argv[3].split(",")}))


asyncio.run(main())
