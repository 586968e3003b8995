"""Tools with a side effect that must not happen twice: a call is run once, and its result is kept for the same call.

The record of a call is claimed by a conditional write before the run, and has the result after it. A record without a
result is of a call that still runs, until the tool's timeout; after that nobody knows whether it took effect.
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
import orjson

from winterbourne.chat.errors import StorageUnavailable, ToolError, ToolUnavailable
from winterbourne.chat.tool_runtime.approvals import canonical_json
from winterbourne.chat.tool_runtime.call import ActiveCall, CallRecords
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Call
from winterbourne.chat.tool_runtime.results import counts_as_failure, encode

__all__ = ["RECORD_TTL_S", "OnceTool", "set_idempotency_key"]

RECORD_TTL_S: Final = 90 * 86_400
"""For how long a call is not run again."""

POLL_INTERVAL_S: Final = 0.25

_LOGGER: Final = logging.getLogger(__name__)


class _Record(msgspec.Struct, frozen=True):
    """What is kept of a call: when it must have ended, in epoch seconds, and its result as JSON text, if it has one."""

    until_s: float
    result: str = ""


class OnceTool(msgspec.Struct, frozen=True):
    """The calls of one tool with `once`.

    Attributes:
        name: The tool's.
        records: Of the calls.
        timeout_s: How long one call may take.
        max_result_bytes: Longer results are cut.
        now: Wall clock, in epoch seconds.
    """

    name: str
    records: CallRecords
    timeout_s: float
    max_result_bytes: int
    now: Callable[[], float]

    def guard(self, call: Call) -> Call:
        """The call, run once for each idempotency key.

        A deliberate ToolError says that nothing happened, unless an earlier attempt has failed otherwise.
        """

        async def call_once(arguments: Any, context: ToolContext) -> Any:
            key = context.idempotency_key
            if result := await self._claim(key):
                _LOGGER.info("a call of %s is not run again", self.name)
                return orjson.Fragment(result)
            has_returned = False
            try:
                value = await call(arguments, context)
                has_returned = True
                result = encode(value, self.max_result_bytes).decode()
            except BaseException as error:
                is_deliberate = not (has_returned or context.has_failed or counts_as_failure(error))
                if not isinstance(error, asyncio.CancelledError):
                    await self._note(key, None if is_deliberate else _Record(0))
                raise
            await self._note(key, _Record(0, result))
            return orjson.Fragment(result)

        return call_once

    async def _claim(self, key: str) -> str | None:
        """Claim the record of a call that is to be run, or wait for the result of one that was, as JSON text.

        Raises:
            ToolError: It is not known whether it took effect.
            ToolUnavailable: The records cannot be reached.
        """
        try:
            while True:
                now_s = self.now()
                new = msgspec.json.encode(_Record(now_s + self.timeout_s))
                if await self.records.claim(key, new, int(now_s) + RECORD_TTL_S):
                    return None
                if body := await self.records.read(key):  # else it was released meanwhile
                    if (record := msgspec.json.decode(body, type=_Record)).result:
                        return record.result
                    if now_s >= record.until_s:
                        raise ToolError(f"It is not known whether this call of {self.name} took effect. Say so.")
                    await asyncio.sleep(POLL_INTERVAL_S)
        except StorageUnavailable:
            text = f"{self.name} was not run: it cannot be made sure at the moment that it runs only once."
            raise ToolUnavailable(text) from None

    async def _note(self, key: str, record: _Record | None) -> None:
        """Keep how a call ended, or release its record. If that fails, the record says that it is not known."""
        try:
            if record:
                await self.records.write(key, msgspec.json.encode(record), int(self.now()) + RECORD_TTL_S)
            else:
                await self.records.release(key)
        except StorageUnavailable:
            _LOGGER.error("how a call of %s ended could not be kept", self.name)  # noqa: TRY400 - the store has logged it


async def set_idempotency_key(call: ActiveCall, _: ToolContext) -> None:
    """Set the key that a call has in common with the same call for the same question."""
    turn, one = call.turn, call.tool_call
    fields = turn.caller_id, turn.conversation_id, turn.question, one.name, canonical_json(one.arguments)
    call.idempotency_key = hashlib.sha256(json.dumps(fields).encode()).hexdigest()
