"""The application's own function, as it was: takes an order, and answers with its number."""

import os
import uuid

import boto3

table = boto3.resource("dynamodb").Table(os.environ["ORDERS_TABLE"])


def handler(event: dict[str, str], context: object) -> dict[str, str]:  # noqa: ARG001 - Lambda passes it
    """Keep an order."""
    number = uuid.uuid4().hex[:8]
    table.put_item(Item={"number": number, "article": event["article"], "state": "packed"})
    return {"number": number}
