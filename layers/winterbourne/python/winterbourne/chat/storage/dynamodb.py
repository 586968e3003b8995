"""DynamoDB storage backend: items in one table, shared by all execution environments.

The table: on demand, partition key `pk` (S), sort key `sk` (S), TTL attribute `expires_at_s` (N), and a local secondary
index `newest` on `pk` and `updated_ms` (N) with all attributes projected. The function must be allowed GetItem, Query,
PutItem, UpdateItem and BatchWriteItem on the table, and Query on the index.
Limits: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
"""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from winterbourne.chat.errors import AwsCallFailed
from winterbourne.chat.infra.aws_calls import call
from winterbourne.chat.storage.base import Item, read_item

__all__ = ["DynamoBackend"]

INDEX: Final = "newest"
MAX_BATCH_WRITES: Final = 25  # BatchWriteItem's limit; 25 of our largest items stay below its 16 MB
MAX_BATCH_ATTEMPTS: Final = 5
BACKOFF_S: Final = 0.05
MAX_CALLS: Final = 16
"""How many calls run at once; further ones wait, so that a crowd leaves connections of the pool to others."""
NUMBERS: Final = ("number", "updated_ms", "expires_at_s")

# Optimistic locking. DynamoDB may keep an expired item for days, so it counts as missing.
IS_NEXT_VERSION: Final = "#n = :before"
IS_FIRST_VERSION: Final = "attribute_not_exists(pk) or expires_at_s <= :now"

# A write whose response is lost is repeated. Each that depends on what is stored leaves a mark of its own, so that the
# repetition neither conflicts with its first attempt nor counts twice.
IS_REPEATED: Final = " or write_id = :write"
ADD: Final = "add #n :amount set expires_at_s = if_not_exists(expires_at_s, :expires), write_id = :write"
IS_NEW: Final = "attribute_not_exists(write_id) or write_id <> :write"


class _Attribute(msgspec.Struct):
    """The value of an attribute; of another type than ours, all of it is empty."""

    S: str = ""
    N: str = ""
    B: bytes = b""


_MISSING: Final = _Attribute()


class _Answer(msgspec.Struct, rename="pascal"):
    """The fields of all responses in one struct."""

    item: dict[str, _Attribute] | None = None
    items: list[dict[str, _Attribute]] = []
    attributes: dict[str, _Attribute] = {}
    last_evaluated_key: dict[str, Any] | None = None
    unprocessed_items: dict[str, list[Any]] = {}


class DynamoBackend:
    """A `Backend` in a DynamoDB table, whose methods are async.

    Args:
        table: Name or ARN of the table.
        sleep: Waits for so many seconds before unprocessed writes are retried.
    """

    def __init__(self, table: str, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._table = table
        self._region = table.split(":")[3] if table.startswith("arn:") else ""
        self._sleep = sleep
        self._calls = asyncio.Semaphore(MAX_CALLS)

    async def get(self, pk: str, sk: str) -> Item | None:
        """One strongly consistent GetItem."""
        answer = await self._call("GetItem", TableName=self._table, Key=_primary_key(pk, sk), ConsistentRead=True)
        return _from_attributes(answer.item) if answer.item else None

    async def query_partition(self, pk: str) -> list[Item]:
        """Strongly consistent Query over all result pages."""
        return await self._query(pk)

    async def query_newest(self, pk: str, limit: int, cursor: Item | None) -> list[Item]:
        """Query on the local secondary index, in descending order, starting after the cursor's key."""
        arguments: dict[str, Any] = {"IndexName": INDEX, "ScanIndexForward": False, "Limit": limit}
        if cursor:
            position = {"updated_ms": _number_attribute(cursor.updated_ms)}
            arguments["ExclusiveStartKey"] = _primary_key(pk, cursor.sk) | position
        return await self._query(pk, limit, **arguments)

    async def put(self, items: Sequence[Item]) -> None:
        """BatchWriteItem, 25 items at a time."""
        await self._write_in_batches([{"PutRequest": {"Item": _to_attributes(item)}} for item in items])

    async def compare_and_set(self, item: Item, now_s: float) -> bool:
        """PutItem with a condition on the stored version."""
        mark = _mark()
        arguments: dict[str, Any] = {"TableName": self._table, "Item": {**_to_attributes(item), "write_id": mark}}
        if item.number == 1:
            arguments["ConditionExpression"] = IS_FIRST_VERSION + IS_REPEATED
            arguments["ExpressionAttributeValues"] = {":now": _number_attribute(int(now_s)), ":write": mark}
        else:
            arguments["ConditionExpression"] = IS_NEXT_VERSION + IS_REPEATED
            arguments["ExpressionAttributeValues"] = {":before": _number_attribute(item.number - 1), ":write": mark}
            arguments["ExpressionAttributeNames"] = {"#n": "number"}
        return await self._call_if("PutItem", **arguments) is not None

    async def increment(self, pk: str, sk: str, amount: int, expires_at_s: int) -> int:
        """One atomic UpdateItem with ADD."""
        values = {":amount": _number_attribute(amount), ":expires": _number_attribute(expires_at_s), ":write": _mark()}
        answer = await self._call_if(
            "UpdateItem",
            TableName=self._table,
            Key=_primary_key(pk, sk),
            UpdateExpression=ADD,
            ConditionExpression=IS_NEW,
            ExpressionAttributeNames={"#n": "number"},
            ExpressionAttributeValues=values,
            ReturnValues="UPDATED_NEW",
        )
        if answer is None:  # an attempt before has done it, and its response was lost
            item = await self.get(pk, sk)
            return item.number if item else amount
        return int(answer.attributes["number"].N)

    async def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """BatchWriteItem with delete requests, 25 at a time."""
        await self._write_in_batches([{"DeleteRequest": {"Key": _primary_key(pk, sk)}} for pk, sk in keys])

    def delete_expired(self, now_s: float) -> None:
        """Do nothing: DynamoDB deletes expired items by itself, within days."""

    def close(self) -> None:
        """Do nothing: the connections are the process's."""

    async def _call(self, operation: str, **fields: Any) -> _Answer:
        async with self._calls:
            return await call("dynamodb", operation, fields, _Answer, self._region)

    async def _call_if(self, operation: str, **fields: Any) -> _Answer | None:
        """The same, with a condition; None if that is not met."""
        try:
            return await self._call(operation, **fields)
        except AwsCallFailed as error:
            if error.reason == "ConditionalCheckFailedException":
                return None
            raise

    async def _query(self, pk: str, limit: int | None = None, **arguments: Any) -> list[Item]:
        """The items of all result pages, or of as many as have `limit` items."""
        fields: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": pk}},
            "ConsistentRead": True,
            **arguments,
        }
        items: list[Item] = []
        while True:
            answer = await self._call("Query", **fields)
            items += map(_from_attributes, answer.items)
            if not answer.last_evaluated_key or (limit and len(items) >= limit):
                return items[:limit]
            fields["ExclusiveStartKey"] = answer.last_evaluated_key

    async def _write_in_batches(self, writes: list[dict[str, Any]]) -> None:
        for start in range(0, len(writes), MAX_BATCH_WRITES):
            await self._write_batch(writes[start : start + MAX_BATCH_WRITES])

    async def _write_batch(self, writes: list[dict[str, Any]]) -> None:
        """Write a batch; retry unprocessed writes (throttling) with exponential backoff and full jitter."""
        for attempt in range(MAX_BATCH_ATTEMPTS):
            answer = await self._call("BatchWriteItem", RequestItems={self._table: writes})
            writes = [write for writes in answer.unprocessed_items.values() for write in writes]
            if not writes:
                return
            await self._sleep(random.uniform(0, BACKOFF_S * 2**attempt))
        raise TimeoutError(f"DynamoDB left {len(writes)} writes unprocessed after {MAX_BATCH_ATTEMPTS} attempts")


def _primary_key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _mark() -> dict[str, str]:
    return {"S": uuid.uuid4().hex}


def _number_attribute(value: int) -> dict[str, str]:
    return {"N": str(value)}


def _to_attributes(item: Item) -> dict[str, Any]:
    """An item as DynamoDB attributes. Zeros are left out, which keeps items without `updated_ms` out of the index."""
    attributes = {name: _number_attribute(value) for name in NUMBERS if (value := getattr(item, name))}
    attributes |= _primary_key(item.pk, item.sk)
    return attributes | {"body": {"B": item.body}} if item.body else attributes


def _from_attributes(attributes: dict[str, _Attribute]) -> Item:
    numbers = {name: _to_int(attributes.get(name, _MISSING).N) for name in NUMBERS}
    body = attributes.get("body", _MISSING).B
    return read_item(attributes["pk"].S, attributes["sk"].S, body=body, **numbers)


def _to_int(text: str) -> int:
    """A number that we wrote; 0 for one that we did not."""
    return int(text) if text.removeprefix("-").isdecimal() else 0
