"""Structured answers with OpenAI's SDK: structured_openai.py URL MODEL. Prints {scenario: what came of it} as JSON."""

import json
import sys
from typing import Any

from openai import APIStatusError, OpenAI
from openai.types.chat import ChatCompletionUserMessageParam
from pydantic import BaseModel

CLIENT = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="unused", max_retries=0)
MODEL = sys.argv[2]
QUESTION: ChatCompletionUserMessageParam = {"role": "user", "content": "the weather in Paris"}


class Weather(BaseModel):
    """The weather."""

    city: str
    temperature: int


def parsed() -> Any:
    """`parse`, which sends the strict schema."""
    completion = CLIENT.chat.completions.parse(model=MODEL, messages=[QUESTION], response_format=Weather)
    answer = completion.choices[0].message.parsed
    return answer and answer.model_dump()


def streamed() -> Any:
    """The same as a stream."""
    with CLIENT.chat.completions.stream(model=MODEL, messages=[QUESTION], response_format=Weather) as stream:
        answer = stream.get_final_completion().choices[0].message.parsed
    return answer and answer.model_dump()


def any_object() -> Any:
    """`json_object`: no schema."""
    completion = CLIENT.chat.completions.create(
        model=MODEL, messages=[QUESTION], response_format={"type": "json_object"}
    )
    return json.loads(completion.choices[0].message.content or "")


def main() -> None:
    """Run every scenario."""
    outcomes: dict[str, Any] = {}
    for scenario in (parsed, streamed, any_object):
        try:
            outcomes[scenario.__name__] = scenario()
        except APIStatusError as error:
            outcomes[scenario.__name__] = [error.status_code, error.code]
        except Exception as error:  # noqa: BLE001 - the test looks at what it is
            outcomes[scenario.__name__] = [type(error).__name__, getattr(error, "code", None)]
    print(json.dumps(outcomes))


main()
