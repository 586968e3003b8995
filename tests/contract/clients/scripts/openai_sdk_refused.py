"""The OpenAI SDK with its own retries against a provider that refuses: openai_sdk_refused.py URL whole|streamed."""

import json
import sys

from openai import APIError, OpenAI

CLIENT = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="unused")
try:
    answer = CLIENT.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "Hi"}], stream=sys.argv[2] == "streamed"
    )
    for _ in answer:
        pass
    print("null")
except APIError as error:
    print(json.dumps([type(error).__name__, getattr(error, "status_code", None), error.code]))
