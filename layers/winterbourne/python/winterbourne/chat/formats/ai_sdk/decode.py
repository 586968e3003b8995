"""Decodes AI SDK chat requests: `POST /api/chat`, as `useChat` sends them, → ChatRequest."""

from typing import Any, Final

import msgspec

from winterbourne.chat.core.history import new_messages
from winterbourne.chat.core.messages import ChatRequest, ToolSchema
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats.ai_sdk.encode import AiSdkEncoder
from winterbourne.chat.formats.ai_sdk.history import UIMessage, decode_decisions, decode_history
from winterbourne.chat.formats.base import (
    CamelOptions,
    Id,
    ResumedAnswer,
    ToolName,
)
from winterbourne.chat.formats.repair import convert_body

__all__ = ["decode", "resume"]

REGENERATE: Final = ("regenerate-message", "regenerate-assistant-message")
"""The trigger as the SDK names it, and as its documentation does. Any other, or none, submits a message."""


class _Tool(msgspec.Struct, frozen=True):
    """A client tool in the shape that assistant-ui sends; its name is the key in `tools`."""

    parameters: dict[str, Any]
    description: str | None = None


class _Body(CamelOptions, frozen=True, kw_only=True, rename="camel"):
    messages: tuple[UIMessage, ...]
    id: Id = ""
    system: str | None = None
    tools: dict[ToolName, _Tool] | None = None
    store: bool = False
    approvals: bool = False
    retractions: bool = False
    trigger: Any = None
    message_id: str | None = None


def _with_messages(body: dict[str, Any]) -> dict[str, Any]:
    """The body with `messages`, where it has but one `message`, or none to be answered anew: the rest is kept here."""
    if body.get("messages") is not None:
        return body
    messages = [one for one in [body.get("message")] if one is not None]
    if not messages and body.get("trigger") not in REGENERATE:
        raise RequestRejected(400, "no_messages", "messages: at least one is needed, or message")
    if not body.get("id"):
        raise RequestRejected(400, "invalid_request", "id: needed where messages is left out, to find those before")
    return {**body, "messages": messages, "store": True}


def decode(body: dict[str, Any]) -> tuple[ChatRequest, AiSdkEncoder]:
    """Decode a `useChat` request. With `store`, only the new messages are taken from `messages`.

    `messageId` is a question that is edited, an answer that is regenerated (or its question), or the answer that goes
    on with the results of the client's own tools, or with what a person has decided. `approvals` says that the page can
    ask one: version 5 of the SDK cannot.
    """
    body = _with_messages(body)
    decoded = convert_body(body, _Body, UIMessage)
    tools = decoded.tools or {}
    messages = tuple(decode_history(decoded.messages))
    regenerate, last = decoded.trigger in REGENERATE, decoded.messages[-1:]
    continued = last[0].id if last and last[0].role == "assistant" and not regenerate else ""
    chat_request = ChatRequest(
        messages=new_messages(messages, tools) if decoded.store else messages,
        conversation_id=decoded.id,
        message_id=continued,
        store=decoded.store,
        replace_from="" if continued else decoded.message_id or "",
        regenerate=regenerate,
        system=decoded.system,
        model_id=decoded.model,
        **decoded.options(),
        client_tools=tuple(ToolSchema(name, t.description or "", t.parameters) for name, t in tools.items()),
        approvals="yes_or_no" if decoded.approvals else "none",
        decisions=tuple(decode_decisions(body["messages"][-1].get("parts"))) if continued else (),
        retractable="by_chunks" if decoded.retractions else "nothing",
    )
    return chat_request, AiSdkEncoder(frozenset(tools), decoded.approvals, decoded.retractions)


def resume(answer: ResumedAnswer) -> AiSdkEncoder:
    """What a page can do that began the answer with this SDK, as it said then: a GET does not say it."""
    can_ask = answer.approvals == "yes_or_no"
    can_retract = answer.retractable == "by_chunks"
    return AiSdkEncoder(answer.client_tools, can_ask, can_retract)
