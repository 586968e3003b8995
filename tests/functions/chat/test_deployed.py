"""The chat's function as `template.yaml` deploys it, with AWS's services on loopback: no part of it imports an SDK."""

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any

from tests.chat.processes import run
from tests.chat.stores import TABLE, TEST_ACCOUNT, dynamodb_table
from tests.contract.providers.fake import StrictProvider
from tests.stack import Stack
from tests.upstream import upstream

CHAT = """
    import sys
    from chat.app import handler
    from winterbourne.chat.infra import http_pool

    body = {"messages": [{"role": "user", "content": "Hello"}], "conversation_id": "c", "store": True}
    event = {
        "rawPath": "/chat",
        "requestContext": {"http": {"method": "POST"}},
        "headers": {"content-type": "application/json", "x-api-key": "key-of-ada"},
        "body": json.dumps(body),
    }
    print("answer", json.dumps(handler(event, CONTEXT)["body"]))
    print("threads", [each.name for each in threading.enumerate() if each.name.startswith(("store", "asyncio"))])
    print("imported", json.dumps(sorted(name for name in sys.modules if name.startswith(("boto", "s3transfer")))))
"""


def deployed(client: Callable[[str], Any], bedrock_url: str) -> dict[str, str]:
    """The variables of the function, its secrets and its table being there."""
    keys = client("secretsmanager").create_secret(Name="keys", SecretString='{"ada": "key-of-ada"}')["ARN"]
    ssm = client("ssm")
    ssm.put_parameter(Name="/chat/signing", Value="k" * 40, Type="SecureString")
    signing_key = ssm.get_parameter(Name="/chat/signing")["Parameter"]["ARN"]
    properties: dict[str, Any] = Stack(ModelProvider="bedrock").properties("ChatFunction")
    return {
        **{name: str(value) for name, value in properties["Environment"]["Variables"].items()},
        **TEST_ACCOUNT,
        "AWS_REGION": TEST_ACCOUNT["AWS_DEFAULT_REGION"],
        "AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"],
        "API_KEYS_SECRET_ARN": keys,
        "SIGNING_KEY_SECRET_ARN": signing_key,
        "STORE": f"dynamodb:{TABLE}",
        "BEDROCK_BASE_URL": bedrock_url,
    }


async def test_an_answered_chat_has_imported_no_sdk_and_used_no_thread() -> None:
    bedrock = StrictProvider("bedrock-nova")
    with dynamodb_table() as client:
        async with upstream(bedrock.answer) as server:
            variables = deployed(client, server.url)
            output = await asyncio.to_thread(run, CHAT, **variables)
        kept = client("dynamodb").scan(TableName=TABLE)["Items"]
    printed = dict(line.split(" ", 1) for line in output.splitlines() if line.startswith(("answer", "threads", "imp")))
    assert '"type":"done"' in json.loads(printed["answer"])
    assert any(b"Fine." in bytes(item["body"]["B"]) for item in kept if "body" in item)
    assert printed["threads"] == "[]"
    # Powertools imports botocore's `__init__`, which imports nothing else.
    assert set(json.loads(printed["imported"])) <= {"botocore"}
    assert "/eu-west-1/bedrock/aws4_request" in server.requests[0].headers["authorization"]
