"""Decodes AG-UI run requests: `POST /agui` → ChatRequest."""

import re
from typing import Any

import msgspec

from winterbourne.chat.core.messages import ChatRequest
from winterbourne.chat.formats.ag_ui.approvals import ResumeEntry, decode_decision
from winterbourne.chat.formats.ag_ui.encode import AgUiEncoder
from winterbourne.chat.formats.ag_ui.history import AgUiMessage, decode_history
from winterbourne.chat.formats.base import (
    CamelOptions,
    ClientTool,
    Id,
    ResumedAnswer,
    camel_case,
)
from winterbourne.chat.formats.repair import convert_body

__all__ = ["decode", "field_of", "resume"]


class _Context(msgspec.Struct, frozen=True):
    description: str
    value: str


class _Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    messages: tuple[AgUiMessage, ...]
    thread_id: Id = ""
    run_id: Id = ""
    tools: tuple[ClientTool, ...] = ()
    context: tuple[_Context, ...] = ()
    resume: tuple[ResumeEntry, ...] | None = None
    forwarded_props: CamelOptions | None = None
    protocol_version: Any = None


def _knows_1_0(protocol_version: Any) -> bool:
    """Whether the client speaks AG-UI 1.0 or newer: clients before it name no version. An odd one counts as newer."""
    return bool(protocol_version) and not re.fullmatch(r"0\.\d+", str(protocol_version))


def decode(body: dict[str, Any]) -> tuple[ChatRequest, AgUiEncoder]:
    """Decode a run request; its `tools` are the client's own. One without messages asks for the thread as it is.

    Of `forwardedProps`, the model's options are read.
    """
    if not isinstance(body.get("forwardedProps"), dict):  # whatever an application sends
        body = {**body, "forwardedProps": None}
    decoded = convert_body(body, _Body, AgUiMessage)
    chat_request = ChatRequest(
        messages=tuple(decode_history(decoded.messages)),
        context="\n".join(f"{entry.description}: {entry.value}" for entry in decoded.context),
        conversation_id=decoded.thread_id,
        reconnects=bool(decoded.thread_id) and not decoded.messages and not decoded.resume,
        client_tools=tuple(tool.schema() for tool in decoded.tools),
        **(decoded.forwarded_props or CamelOptions()).options(),
        approvals="form",
        decisions=tuple(map(decode_decision, decoded.resume or ())),
        retractable="everything",
    )
    knows_1_0 = _knows_1_0(decoded.protocol_version)
    return chat_request, AgUiEncoder(decoded.thread_id, decoded.run_id, knows_1_0, shown=body["messages"])


def field_of(option: str) -> str:
    """The field of a body in which a client sends an option."""
    return f"forwardedProps.{camel_case(option)}"


def resume(answer: ResumedAnswer) -> AgUiEncoder:
    """With the ids and the version of the client that reconnects, where those are known."""
    encoder = answer.encoder if isinstance(answer.encoder, AgUiEncoder) else AgUiEncoder(answer.conversation_id)
    encoder.history = answer.history
    return encoder
