"""Structured answers with LangChain: structured_langchain.py URL MODEL SCENARIOS. Prints what came of each as JSON."""

import json
import sys
from typing import Any

from langchain_openai import ChatOpenAI
from pydantic import BaseModel

MODEL = ChatOpenAI(base_url=f"{sys.argv[1]}/v1", api_key="unused", model=sys.argv[2], max_retries=0)


class Weather(BaseModel):
    """The weather."""

    city: str
    temperature: int


def json_schema() -> Any:
    """Its default: the strict schema."""
    return MODEL.with_structured_output(Weather).invoke("the weather in Paris").model_dump()


def json_mode() -> Any:
    """`json_object`, with the schema in the prompt or nowhere."""
    return MODEL.with_structured_output(method="json_mode", schema=None).invoke("the weather in Paris, as JSON")


def function_calling() -> Any:
    """One tool, which is named as the choice, and no parallel calls."""
    return MODEL.with_structured_output(Weather, method="function_calling").invoke("please Weather 18").model_dump()


names = sys.argv[3].split(",")
print(json.dumps({name: globals()[name]() for name in names}))
