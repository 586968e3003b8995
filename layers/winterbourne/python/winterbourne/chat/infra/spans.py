"""Spans of a trace: the request, the answer, each model turn, each tool call; imported only where they are exported.

Names and attributes follow OpenTelemetry's conventions for generative AI and MCP, v0.1.0 (Development):
https://github.com/open-telemetry/semantic-conventions-genai/tree/main/docs/gen-ai
What users and models say is in them only if LOG_MESSAGES allows it.
"""

import contextvars
import os
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias

import msgspec

from winterbourne.chat.infra.exception_text import exception_class_name
from winterbourne.chat.infra.tracing import SPAN, XRAY_HEADER, XRAY_ROOT, outgoing_headers

__all__ = ["MAX_TEXT_CHARS", "Attribute", "Kind", "Span", "Trace"]

Kind: TypeAlias = Literal["internal", "server", "client"]
Attribute: TypeAlias = str | bool | int | float | Sequence[str] | None
"""The value of an attribute; one that is None is left out."""

MAX_TEXT_CHARS: Final = 16_000
"""Of one attribute, so that a span with both arguments and result stays below X-Ray's 200 KB in any script."""

PROVIDERS: Final = {"bedrock": "aws.bedrock"}
"""How the conventions name a provider where they have another name for it."""

OPTIONS: Final = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "seed": "gen_ai.request.seed",
    "stop": "gen_ai.request.stop_sequences",
    "reasoning": "gen_ai.request.reasoning.level",
    "presence_penalty": "gen_ai.request.presence_penalty",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
}
"""The attributes of what a request asks of a model, by the names of its options."""

USAGE: Final = {
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "cached": "gen_ai.usage.cache_read.input_tokens",
    "cache_write": "gen_ai.usage.cache_write.input_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
    "cost": "winterbourne.cost_usd",
}
"""The attributes of what a model has used."""

PARTS: Final = {"text": "content", "cited_text": "content", "arguments": "arguments"}
"""How the conventions name the fields of a message's parts that have content, by our names."""

KEPT: Final = ("type", "id", "name", "media_type", "url")


class Trace(msgspec.Struct, eq=False):
    """The spans of one request, and the trace that they belong to.

    Attributes:
        trace_id: 32 hexadecimal digits.
        service_name: That of the deployment, which is the name of its agent.
        headers: What outgoing requests carry of the trace; each span puts its own id there.
        has_content: LOG_MESSAGES.
        spans: In the order in which they began.
        others: Spans of other functions that took part, as elements of OTLP's `resourceSpans`.
    """

    trace_id: str
    headers: Mapping[str, str]
    service_name: str = ""
    has_content: bool = False
    spans: "list[Span]" = []
    others: list[bytes] = []


class Span(msgspec.Struct, eq=False):
    """One span; entered, it is the current one, and outgoing requests are its children.

    Attributes:
        trace: What it belongs to.
        name: Of few kinds: operations, models and tools, never ids.
        kind: `client` for a call to another service.
        parent: The span around it in this process; None for the first one.
        parent_id: 16 hexadecimal digits; empty where a trace begins.
        attributes: By name.
        error: A word for what went wrong, as `error.type` has it; empty if nothing did.
        span_id: 16 hexadecimal digits.
        started_ns: Nanoseconds since 1970.
        ended_ns: The same; 0 while it lasts.
    """

    trace: Trace
    name: str
    kind: Kind = "internal"
    parent: "Span | None" = None
    parent_id: str = ""
    attributes: dict[str, Attribute] = {}
    error: str = ""
    span_id: str = msgspec.field(default_factory=lambda: os.urandom(8).hex())
    started_ns: int = msgspec.field(default_factory=time.time_ns)
    ended_ns: int = 0
    _tokens: "tuple[contextvars.Token[Any], contextvars.Token[Any]] | None" = None

    def child(self, name: str, kind: Kind = "internal", **attributes: Attribute) -> "Span":
        """A span within this one. What begins during a call to another service, as tools do, runs beside that call."""
        parent = self.parent if self.kind == "client" and self.parent else self
        named = {f"gen_ai.{key.replace('__', '.')}": value for key, value in attributes.items()}
        named["gen_ai.conversation.id"] = parent.attributes.get("gen_ai.conversation.id")
        return Span(self.trace, name, kind, parent, parent.span_id, named)

    def agent(self, model: str, conversation_id: str) -> "Span":
        """The span of a whole answer, of a model named as `provider:model`."""
        span = self._of_model("invoke_agent", self.trace.service_name, model)
        span.attributes |= {"gen_ai.agent.name": self.trace.service_name, "gen_ai.conversation.id": conversation_id}
        return span

    def note_answer(self, used: Any, fields: Mapping[str, Any]) -> None:
        """Add how an answer ended: what all of it has used, and what is in the log line of its request."""
        self.note_usage(used, stop_reason=fields.get("stop_reason", ""))
        self.error = self.error or str(fields.get("error_type", ""))
        if self.trace.has_content and (messages := fields.get("messages")):
            said = [{"role": each["role"], "parts": [*map(_part, each.get("parts", (each,)))]} for each in messages]
            self.attributes["gen_ai.input.messages"] = _json(said[:1])
            self.attributes["gen_ai.output.messages"] = _json(said[1:])

    def note_call(self, status: str, arguments: str, result: str) -> None:
        """Add how a tool call ended: a status of `ToolFinished`; with LOG_MESSAGES the JSON of what it got and gave."""
        if self.attributes.get("gen_ai.operation.name") != "execute_tool":
            return  # it was refused before it began
        self.error = "" if status == "completed" else status
        if self.trace.has_content:
            self.note("execute_tool", gen_ai__tool__call__arguments=arguments, gen_ai__tool__call__result=result)

    def model(self, model: str, options: Mapping[str, Any]) -> "Span":
        """The span of one turn of a model, named as `provider:model`, which is asked with these options."""
        span = self._of_model("chat", model.partition(":")[2], model, "client")
        span.attributes["gen_ai.request.stream"] = True
        span.attributes |= {OPTIONS[name]: value for name, value in options.items() if name in OPTIONS}
        return span

    def tool(self, name: str, call_id: str) -> "Span":
        """The span of one tool call, with the time that it waits for its turn."""
        return self.child(
            f"execute_tool {name}",
            operation__name="execute_tool",
            tool__name=name,
            tool__type="function",
            tool__call__id=call_id,
        )

    def note(self, operation: str, **attributes: Attribute) -> None:
        """Add attributes, with `__` for a dot, if it is the span of this operation: others pass here as well."""
        if self.attributes.get("gen_ai.operation.name") == operation:
            self.attributes |= {key.replace("__", "."): value for key, value in attributes.items()}

    def note_first_chunk(self) -> None:
        """A model has begun to answer."""
        self.attributes.setdefault("gen_ai.response.time_to_first_chunk", (time.time_ns() - self.started_ns) / 1e9)

    def note_usage(self, used: Any, model: str = "", stop_reason: str = "") -> None:
        """Add what was used, as in `Usage`; the model that answered, as `provider:model`; and why it stopped."""
        self.attributes |= {attribute: getattr(used, name) or None for name, attribute in USAGE.items()}
        if model:
            self.name_model(model, "response")
        if stop_reason:
            self.attributes["gen_ai.response.finish_reasons"] = [stop_reason]

    def __enter__(self) -> Self:
        self.trace.spans.append(self)
        self._tokens = SPAN.set(self), outgoing_headers.set(self._headers())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error and not self.error:
            self.error = exception_class_name(error)
        self.ended_ns = self.ended_ns or time.time_ns()
        if self._tokens:
            SPAN.reset(self._tokens[0])
            outgoing_headers.reset(self._tokens[1])

    def _of_model(self, operation: str, subject: str, model: str, kind: Kind = "internal") -> "Span":
        span = self.child(f"{operation} {subject}".strip(), kind, operation__name=operation)
        span.name_model(model, "request")
        return span

    def name_model(self, model: str, of: Literal["request", "response"]) -> None:
        """Say which model is asked, or has answered, named as `provider:model`."""
        provider, _, name = model.partition(":")
        self.attributes["gen_ai.provider.name"] = PROVIDERS.get(provider, provider)
        self.attributes[f"gen_ai.{of}.model"] = name or None

    def _headers(self) -> dict[str, str]:
        """The trace headers with this span as the parent, in both formats if the trace is X-Ray's."""
        headers, trace_id = {**self.trace.headers}, self.trace.trace_id
        headers["traceparent"] = f"00-{trace_id}-{self.span_id}-01"
        root = XRAY_ROOT.search(headers.get(XRAY_HEADER, ""))
        if root and root[1] + root[2] == trace_id:
            headers[XRAY_HEADER] = f"{root[0]};Parent={self.span_id};Sampled=1"
        return headers


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a message as the conventions' JSON schema has it; images and documents without their data."""
    if "tool_call_id" in part:
        return {"type": "tool_call_response", "id": part["tool_call_id"], "response": part["content"]}
    named = {name: part[name] for name in KEPT if part.get(name)}
    return {"type": "text", **named, **{PARTS[name]: part[name] for name in PARTS if part.get(name)}}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
