"""Chats in which a person is asked: the executor of a process, what it asks, and what is decided in another one."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from tests.chat.stores import Clock
from tests.chat.tool_runtime.recording_clients import RecordingClient
from winterbourne.chat.core.events import ToolApprovalRequested
from winterbourne.chat.core.messages import Approval, ApprovalKind, Decision, ToolCall, ToolMessage
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.storage.base import Store
from winterbourne.chat.storage.call_records import CallRecords
from winterbourne.chat.storage.memory import MemoryBackend
from winterbourne.chat.tool_runtime.call_group import ToolCallGroup
from winterbourne.chat.tool_runtime.declaration import Tool, tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor

__all__ = ["KEY", "Process", "Till", "approve", "deny", "memory_store"]

KEY = "a key that signs what a person is asked"


def memory_store(clock: Clock) -> Store:
    return Store(MemoryBackend, threads=0, is_shared=False, now=clock)


def approve(call: ToolCall, **fields: Any) -> Decision:
    assert isinstance(call.approval, Approval)
    return Decision(approval_id=call.approval.id, approved=True, **fields)


def deny(call: ToolCall, reason: str = "") -> Decision:
    assert isinstance(call.approval, Approval)
    return Decision(approval_id=call.approval.id, approved=False, reason=reason)


class Till:
    """What was paid; it takes so many seconds."""

    def __init__(self, *, seconds: float = 0, **options: Any) -> None:
        self.paid: list[int] = []

        @tool(**{"approval": True, **options})
        async def pay(euros: int, to: str = "the harbour master") -> str:
            """Pay."""
            self.paid.append(euros)
            await asyncio.sleep(seconds)
            return f"paid {to}"

        self.pay: Tool = pay


class Process:
    """One process of a chat: an executor over a store that others may share."""

    def __init__(self, *tools: Tool, store: Store, clock: Clock, key: str = KEY, **settings: Any) -> None:
        own = ToolSettings(signing_key=key, **settings)
        self.executor = ToolExecutor(tools, own, records=CallRecords(store), wall_clock=clock)
        self.client = RecordingClient()

    async def ask(
        self, *calls: ToolCall, approvals: ApprovalKind = "yes_or_no", **turn: str
    ) -> tuple[list[ToolCall], list[ToolMessage]]:
        """Run a turn: the calls that wait for a person, as they are stored, and the results of the others."""
        async with self._turn(approvals, turn) as group:
            for call in calls:
                group.start(call)
            results = await group.results()
        pending = [
            msgspec.structs.replace(call, approval=group.pending[call.id]) for call in calls if call.id in group.pending
        ]
        asked = [event.approval for event in self.client.events if isinstance(event, ToolApprovalRequested)]
        assert all(call.approval in asked for call in pending)
        return pending, results

    async def decide(self, *calls: ToolCall, decisions: Sequence[Decision], **turn: str) -> list[ToolMessage]:
        """The results of pending calls after these decisions."""
        async with self._turn("yes_or_no", turn) as group:
            for call in calls:
                group.start(call, decisions)
            return await group.results()

    def _turn(self, approvals: ApprovalKind, turn: dict[str, str]) -> ToolCallGroup:
        where: dict[str, Any] = {"caller_id": "anna", "conversation_id": "c1", "question": "1 pay", **turn}
        return self.executor.turn(self.client, approvals=approvals, **where)
