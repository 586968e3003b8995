"""Approvals in AG-UI: interrupts that end a run, and the `resume` entries of the next one that answer them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from winterbourne.chat.core.events import ToolApprovalRequested
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    Decision,
    DecisionReason,
    Message,
    ToolMessage,
    UserMessage,
)

__all__ = ["ResumeEntry", "decode_decision", "encode_interrupt", "pending_approvals"]


class _Payload(msgspec.Struct, frozen=True, rename="camel"):
    """What a person answered; anything but a plain yes or no is an error, and never a yes."""

    approved: bool
    reason: DecisionReason | None = None
    edited_args: dict[str, Any] | None = None
    content: dict[str, Any] | None = None


class _Resolved(msgspec.Struct, frozen=True, rename="camel", tag="resolved", tag_field="status"):
    interrupt_id: str
    payload: _Payload


class _Cancelled(msgspec.Struct, frozen=True, rename="camel", tag="cancelled", tag_field="status"):
    interrupt_id: str


ResumeEntry: TypeAlias = _Resolved | _Cancelled
"""The answer to one interrupt."""


def encode_interrupt(asked: ToolApprovalRequested) -> dict[str, Any]:
    """The interrupt for a call."""
    approval = asked.approval
    expires_at = datetime.fromtimestamp(approval.expires_at_s, UTC).isoformat().replace("+00:00", "Z")
    return {
        "id": approval.id,
        "reason": "input_required" if approval.schema else "tool_call",
        "message": approval.message or f"Allow {asked.name}?",
        "toolCallId": asked.id,
        "responseSchema": _response_schema(approval),
        "expiresAt": expires_at,
        "metadata": {"winterbourne": {"toolCallName": asked.name}},
    }


def _response_schema(approval: Approval) -> dict[str, Any]:
    fields: dict[str, Any] = {"approved": {"type": "boolean"}, "reason": {"type": "string"}}
    if approval.allows_edits:
        fields["editedArgs"] = {"type": "object"}
    if approval.schema:
        fields["content"] = approval.schema
    return {"type": "object", "properties": fields, "required": ["approved"]}


def pending_approvals(messages: Iterable[Message]) -> Iterable[ToolApprovalRequested]:
    """What is still asked at the end of a history."""
    asked: dict[str, ToolApprovalRequested] = {}
    for message in messages:
        match message:
            case UserMessage():
                asked.clear()
            case AssistantMessage():
                for call in message.tool_calls:
                    if call.approval:
                        asked[call.id] = ToolApprovalRequested(call.id, call.name, call.approval)
            case ToolMessage(call_id):
                asked.pop(call_id, None)
    return asked.values()


def decode_decision(entry: ResumeEntry) -> Decision:
    """What a person has decided. An interrupt that was cancelled is a no."""
    told = entry.payload if isinstance(entry, _Resolved) else _Payload(approved=False)
    arguments = told.edited_args if told.content is None else told.content
    reason = told.reason or ""
    return Decision(approval_id=entry.interrupt_id, approved=told.approved, reason=reason, arguments=arguments)
