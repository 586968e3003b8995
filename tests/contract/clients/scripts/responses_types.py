"""openai's own types: responses_types.py FILE with {"requests": […], "events": […]}. Prints what does not fit."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openai.types.responses import ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import TypeAdapter, ValidationError

EVENT: Any = TypeAdapter(ResponseStreamEvent)
REQUEST: Any = TypeAdapter(ResponseCreateParamsStreaming)


def consumed(value: Any) -> None:
    """Walk through what is validated only when it is read."""
    if isinstance(value, dict):
        value = value.values()
    if not isinstance(value, str | bytes | int | float | None):
        for inner in value:
            consumed(inner)


def complaints(given: dict[str, Any]) -> Iterator[str]:
    for number, event in enumerate(given["events"]):
        try:
            EVENT.validate_python(event, strict=False)
        except ValidationError as error:
            yield f"event {number} {event['type']}: {error}"
    for number, request in enumerate(given["requests"]):
        try:
            consumed(REQUEST.validate_python(request))
        except ValidationError as error:
            yield f"request {number}: {error}"


print(json.dumps([*complaints(json.loads(Path(sys.argv[1]).read_text()))]))
