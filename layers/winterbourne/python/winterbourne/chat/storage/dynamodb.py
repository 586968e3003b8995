"""DynamoDB storage backend: items in one table, shared by all execution environments.

The table: on demand, partition key `pk` (S), sort key `sk` (S), TTL attribute `expires_at_s` (N), and a local secondary
index `newest` on `pk` and `updated_ms` (N) with all attributes projected. The function must be allowed GetItem, Query,
PutItem, UpdateItem and BatchWriteItem on the table, and Query on the index.
Limits: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
"""

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from winterbourne.chat.infra import aws_clients
from winterbourne.chat.storage.base import Item, read_item

__all__ = ["DynamoBackend"]

INDEX: Final = "newest"
MAX_BATCH_WRITES: Final = 25  # BatchWriteItem's limit; 25 of our largest items stay below its 16 MB
MAX_BATCH_ATTEMPTS: Final = 5
BACKOFF_S: Final = 0.05
NUMBERS: Final = ("number", "updated_ms", "expires_at_s")

# Optimistic locking. DynamoDB may keep an expired item for days, so it counts as missing.
IS_NEXT_VERSION: Final = "#n = :before"
IS_FIRST_VERSION: Final = "attribute_not_exists(pk) or expires_at_s <= :now"


class DynamoBackend:
    """A `Backend` in a DynamoDB table. Thread-safe.

    Args:
        table: Name or ARN of the table.
        sleep: Blocks for so many seconds before unprocessed writes are retried.

    Raises:
        botocore.exceptions.BotoCoreError: No region is configured.
    """

    def __init__(self, table: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = aws_clients.client("dynamodb")
        self._table = table
        self._sleep = sleep

    def get(self, pk: str, sk: str) -> Item | None:
        """One strongly consistent GetItem."""
        response = self._client.get_item(TableName=self._table, Key=_primary_key(pk, sk), ConsistentRead=True)
        return _from_attributes(response["Item"]) if "Item" in response else None

    def query_partition(self, pk: str) -> list[Item]:
        """Strongly consistent Query over all result pages."""
        return list(self._query(pk))

    def query_newest(self, pk: str, limit: int, cursor: Item | None) -> list[Item]:
        """Query on the local secondary index, in descending order, starting after the cursor's key."""
        arguments: dict[str, Any] = {"IndexName": INDEX, "ScanIndexForward": False, "Limit": limit}
        if cursor:
            position = {"updated_ms": _number_attribute(cursor.updated_ms)}
            arguments["ExclusiveStartKey"] = _primary_key(pk, cursor.sk) | position
        return list(itertools.islice(self._query(pk, **arguments), limit))

    def put(self, items: Sequence[Item]) -> None:
        """BatchWriteItem, 25 items at a time."""
        self._write_in_batches([{"PutRequest": {"Item": _to_attributes(item)}} for item in items])

    def compare_and_set(self, item: Item, now_s: float) -> bool:
        """PutItem with a condition on the stored version."""
        arguments: dict[str, Any] = {"TableName": self._table, "Item": _to_attributes(item)}
        if item.number == 1:
            arguments["ConditionExpression"] = IS_FIRST_VERSION
            arguments["ExpressionAttributeValues"] = {":now": _number_attribute(int(now_s))}
        else:
            arguments["ConditionExpression"] = IS_NEXT_VERSION
            arguments["ExpressionAttributeValues"] = {":before": _number_attribute(item.number - 1)}
            arguments["ExpressionAttributeNames"] = {"#n": "number"}
        try:
            self._client.put_item(**arguments)
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def increment(self, pk: str, sk: str, amount: int, expires_at_s: int) -> int:
        """One atomic UpdateItem with ADD."""
        values = {":amount": _number_attribute(amount), ":expires": _number_attribute(expires_at_s)}
        response = self._client.update_item(
            TableName=self._table,
            Key=_primary_key(pk, sk),
            UpdateExpression="add #n :amount set expires_at_s = if_not_exists(expires_at_s, :expires)",
            ExpressionAttributeNames={"#n": "number"},
            ExpressionAttributeValues=values,
            ReturnValues="UPDATED_NEW",
        )
        return int(response["Attributes"]["number"]["N"])

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """BatchWriteItem with delete requests, 25 at a time."""
        self._write_in_batches([{"DeleteRequest": {"Key": _primary_key(pk, sk)}} for pk, sk in keys])

    def delete_expired(self, now_s: float) -> None:
        """Do nothing: DynamoDB deletes expired items by itself, within days."""

    def close(self) -> None:
        """Do nothing: the client is shared within the process."""

    def _query(self, pk: str, **arguments: Any) -> Iterator[Item]:
        """The items of all result pages; each page is fetched only when needed."""
        while True:
            response = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": pk}},
                ConsistentRead=True,
                **arguments,
            )
            yield from map(_from_attributes, response["Items"])
            if "LastEvaluatedKey" not in response:
                return
            arguments["ExclusiveStartKey"] = response["LastEvaluatedKey"]

    def _write_in_batches(self, writes: list[dict[str, Any]]) -> None:
        for start in range(0, len(writes), MAX_BATCH_WRITES):
            self._write_batch(writes[start : start + MAX_BATCH_WRITES])

    def _write_batch(self, writes: list[dict[str, Any]]) -> None:
        """Write a batch; retry unprocessed writes (throttling) with exponential backoff and full jitter."""
        for attempt in range(MAX_BATCH_ATTEMPTS):
            response = self._client.batch_write_item(RequestItems={self._table: writes})
            writes = response["UnprocessedItems"].get(self._table, [])
            if not writes:
                return
            self._sleep(random.uniform(0, BACKOFF_S * 2**attempt))
        raise TimeoutError(f"DynamoDB left {len(writes)} writes unprocessed after {MAX_BATCH_ATTEMPTS} attempts")


def _primary_key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _number_attribute(value: int) -> dict[str, str]:
    return {"N": str(value)}


def _to_attributes(item: Item) -> dict[str, Any]:
    """An item as DynamoDB attributes. Zeros are left out, which keeps items without `updated_ms` out of the index."""
    attributes = {name: _number_attribute(value) for name in NUMBERS if (value := getattr(item, name))}
    attributes |= _primary_key(item.pk, item.sk)
    return attributes | {"body": {"B": item.body}} if item.body else attributes


def _from_attributes(attributes: dict[str, Any]) -> Item:
    numbers = {name: _to_int(attributes.get(name, {}).get("N", "")) for name in NUMBERS}
    body = attributes.get("body", {}).get("B")
    return read_item(attributes["pk"]["S"], attributes["sk"]["S"], body=body, **numbers)


def _to_int(text: str) -> int:
    """A number that we wrote; 0 for one that we did not."""
    return int(text) if text.removeprefix("-").isdecimal() else 0
