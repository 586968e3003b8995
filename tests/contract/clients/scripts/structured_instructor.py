"""Structured answers with instructor: structured_instructor.py URL MODEL SCENARIOS. Prints {scenario: answer}."""

import json
import sys
from typing import Any

import instructor
from openai import OpenAI
from pydantic import BaseModel

OPENAI = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="unused", max_retries=0)


class Weather(BaseModel):
    """The weather."""

    city: str
    temperature: int


def answer(mode: str) -> Any:
    """What comes in a mode of the library, without its own retries."""
    client = instructor.from_openai(OPENAI, mode=instructor.Mode[mode])
    question = "please Weather 18" if mode == "TOOLS" else "the weather in Paris"
    messages: Any = [{"role": "user", "content": question}]
    return client.create(model=sys.argv[2], response_model=Weather, messages=messages, max_retries=0).model_dump()


print(json.dumps({mode: answer(mode) for mode in sys.argv[3].split(",")}))
