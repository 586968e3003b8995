"""The assistant: all that it takes beside the layer."""

import os

import boto3

from winterbourne.chat import Chat, ToolError, tool

table = boto3.resource("dynamodb").Table(os.environ["ORDERS_TABLE"])


@tool
def find_order(number: str) -> dict[str, str]:
    """Find an order by its number.

    Args:
        number: The eight characters that the customer was given.
    """
    order = table.get_item(Key={"number": number}).get("Item")
    if not order:
        raise ToolError(f"there is no order {number}")
    return {name: str(value) for name, value in order.items()}


chat = Chat(tools=find_order, instructions="You help customers with their orders. Ask for the number of an order.")
handler = chat.handler
