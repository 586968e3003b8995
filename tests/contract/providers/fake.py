"""A strict model provider: refuses what the real one refuses, in its words, and streams its answers in its chunks.

It remembers what it gave out, such as signatures, and demands it back.
"""

import contextlib
import itertools
import json
import math
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest

from tests.contract.providers.families import FAMILIES, Family
from tests.contract.providers.prompt_cache import PromptCache, Reading, blocks_of
from tests.contract.providers.requests import Given, Request, read_request
from tests.contract.providers.rules import Refusal, refusals
from tests.transcripts import event_stream_message
from tests.upstream import Exchange, upstream

__all__ = ["GUARDRAIL_TRACE", "Answer", "ResponseEvents", "StrictProvider", "strict_providers"]


GUARDRAIL_TRACE: Mapping[str, Any] = {
    "modelOutput": ["the secret course"],
    "actionReason": "Guardrail blocked.",
    "inputAssessment": {
        "g1": {
            "topicPolicy": {"topics": [{"name": "Smuggling", "type": "DENY", "action": "BLOCKED", "detected": True}]},
            "wordPolicy": {"customWords": [{"match": "contraband", "action": "BLOCKED"}], "managedWordLists": []},
            "contentPolicy": {"filters": [{"type": "INSULTS", "confidence": "LOW", "action": "NONE"}]},
        }
    },
    "outputAssessments": {
        "g1": [
            {
                "sensitiveInformationPolicy": {
                    "piiEntities": [{"match": "ada@example.com", "type": "EMAIL", "action": "ANONYMIZED"}],
                    "regexes": [{"name": "berth", "match": "B-12", "regex": "B-.*", "action": "BLOCKED"}],
                }
            }
        ]
    },
}
"""Of a guardrail that has found something: the words that it found are in `match` and `modelOutput`."""


@dataclass(frozen=True)
class Answer:
    """What the model says and calls next; a `cut` answer breaks off in the middle.

    Attributes:
        text: The text.
        calls: Name and arguments of each call; the arguments are JSON text, which may be broken.
        cut: Whether the connection breaks before the end.
        silent: Whether the model does not think this time, though it could.
        blocked: What a guardrail says after or in place of the text, if one was asked for.
    """

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    cut: bool = False
    silent: bool = False
    blocked: str = ""


@dataclass
class StrictProvider:
    """One provider with its script; after the script it answers `Fine.`.

    Attributes:
        name: The family's name.
        script: The next answers.
        requests: The bodies it has answered, parsed.
        refusals: What it has refused, one for each request.
        given: What it has given out.
        plan: What the model says to the messages of a request, in place of the script.
        dies_after: After how many bytes of its answers its connection breaks; it takes no request any more then.
        cache: Its prompt cache, if it reports one.
        window: How many tokens the model takes; it then counts what it reports. 0 for as many as there are.
        summaries: What it has answered to requests for a summary.
    """

    name: str
    port: int = 0
    script: list[Answer] = field(default_factory=list)
    requests: list[Mapping[str, Any]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    given: Given = field(default_factory=Given)
    plan: Callable[[str], Answer] | None = None
    dies_after: float = math.inf
    sent: int = 0
    cache: PromptCache | None = None
    window: int = 0
    summaries: list[str] = field(default_factory=list)
    _count: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.cache = self.family.cache and self.family.cache()

    @property
    def family(self) -> Family:
        return FAMILIES[self.name]

    @property
    def unlearned(self) -> list[str]:
        """What should not have been refused: all but one refusal for each rule that the refusal itself teaches."""
        names = [refusal.rule.name for refusal in self.refusals]
        return [
            f"{refusal.rule.name}: {refusal.message}"
            for at, refusal in enumerate(self.refusals)
            if not refusal.rule.may_be_learned or refusal.rule.name in names[:at]
        ]

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request, or refuse it."""
        body = orjson.loads(exchange.body)  # as strict as any: half surrogates are no JSON
        family = self.family
        assert self.family.dialect != "responses" or exchange.head.startswith("POST /v1/responses ")
        thinks = family.thinks(body)
        request = read_request(self.name, family.dialect, body, self.given, thinks=thinks, window=self.window)
        if refusal := next(refusals(request), None):
            self.refusals.append(refusal)
            await self._refuse(exchange, refusal)
            return
        self.requests.append(body)
        if self.sent >= self.dies_after:
            exchange.cut()
            return
        if self.plan:
            answer = self.plan(json.dumps(body.get("messages", body.get("input"))))
        else:
            answer = self._summary(request) or (self.script.pop(0) if self.script else Answer("Fine."))
        content_type = "application/vnd.amazon.eventstream" if family.dialect == "bedrock" else "text/event-stream"
        await exchange.start(content_type=content_type)
        tokens = request.tokens if self.window else 9
        reading = Reading(0, 0, tokens, tokens)
        if self.cache and not self.window:
            reading = self.cache.use(blocks_of(family.dialect, body), body.get("prompt_cache_key", ""))
        pieces = list(self._pieces(answer, request, reading))
        if answer.cut:
            pieces = pieces[: max(1, len(pieces) // 2)]
        data = b"".join(pieces)
        left = self.dies_after - self.sent
        if len(data) >= left:
            data, answer = data[: int(left)], replace(answer, cut=True)
        self.sent += len(data)
        await exchange.send(data)
        await (_cut(exchange) if answer.cut else exchange.end())

    def _summary(self, request: Request) -> Answer | None:
        """A summary if the request is for one, of which there may be many in one conversation."""
        if not any("Summarise the conversation" in text for text in (*request.system, *request.turns[0].texts)):
            return None
        self.summaries.append(f"Summary {len(self.summaries) + 1}: sums were added.")
        return Answer(self.summaries[-1], silent=True)

    async def _refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        family, status = self.family, refusal.rule.status
        headers = {"x_amzn_errortype": "ValidationException"} if family.dialect == "bedrock" else {}
        await exchange.start(status, content_type="application/json", **headers)
        await exchange.send(orjson.dumps(family.error_body(status, refusal.message)))
        await exchange.end()

    def _pieces(self, answer: Answer, request: Request, reading: Reading) -> Iterator[bytes]:
        calls = [(self._call_id(name), name, arguments) for name, arguments in answer.calls]
        self.given.ids |= {call_id for call_id, _, _ in calls}
        thought = f"Thought {next(self._count)}." if request.thinks and not answer.silent else ""
        match self.family.dialect:
            case "anthropic":
                told = {"compacts": _compacts(request), "is_omitted": is_omitted(request)}
                yield from self._anthropic(answer.text, thought, calls, reading, **told)
            case "bedrock":
                blocked = answer.blocked if "guardrailConfig" in request.body else ""
                omits = is_omitted(request)
                yield from self._bedrock(answer.text, thought, calls, reading, blocked, is_omitted=omits)
            case "responses":
                yield from self._responses(answer.text, thought, calls, reading, compacts=_compacts(request))
            case _:
                yield from self._chat(answer.text, thought, calls, reading)

    def _call_id(self, name: str) -> str:
        """An id in the family's shape."""
        number = next(self._count)
        long = f"{number:024d}"
        shapes = {
            "anthropic": f"toolu_01{long[4:]}",
            "anthropic-thinking": f"toolu_01{long[4:]}",
            "bedrock-nova": f"tooluse_{long[2:]}",
            "bedrock-claude-thinking": f"tooluse_{long[2:]}",
            "litellm-claude": f"toolu_01{long[4:]}",
            "litellm-gemini": f"call_{long}__thought__{'Eo4LCosLAXLI2nx' * 60}{number}",
            "deepseek": f"call_00_{long[:24]}",
            "kimi": f"functions.{name}:{number}",
            "gemini": f"function-call-{number:018d}",
            "openrouter-gemini": f"tool_{number}_{name[:10]}",
            "mistral": f"{number:09d}",
            "vllm-mistral": f"{number:09d}",
            "vllm-llama": f"chatcmpl-tool-{number:032x}",
            "ollama": f"call_{number:08x}",
            "llama-server": f"{number:09d}",
        }
        return shapes.get(self.name, f"call_{long}")

    # Messages API.

    def _anthropic(
        self,
        text: str,
        thought: str,
        calls: list[tuple[str, str, str]],
        reading: Reading,
        *,
        compacts: bool,
        is_omitted: bool,
    ) -> Iterator[bytes]:
        cached = {"cache_read_input_tokens": reading.read, "cache_creation_input_tokens": reading.written}
        usage = {"input_tokens": reading.fresh, **cached, "output_tokens": 1}
        yield _event("message_start", message={"id": "msg_1", "role": "assistant", "usage": usage})
        index = itertools.count()
        if compacts:
            self.summaries.append(f"Summary {len(self.summaries) + 1}.")
            summary = {"type": "compaction_delta", "content": self.summaries[-1], "encrypted_content": "e30="}
            yield from _block(next(index), {"type": "compaction"}, [summary])
        if thought:
            signature = f"sig/{thought}=="
            told = "" if is_omitted else thought
            self.given.thinking.append({"type": "thinking", "thinking": told, "signature": signature})
            self.given.thinking.append({"type": "redacted_thinking", "data": f"opaque {thought}"})
            block = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [
                *({"type": "thinking_delta", "thinking": piece} for piece in _halves(told)),
                {"type": "signature_delta", "signature": signature},
            ]
            yield from _block(next(index), block, deltas)
            yield from _block(next(index), {"type": "redacted_thinking", "data": f"opaque {thought}"}, [])
        if text:
            deltas = [{"type": "text_delta", "text": piece} for piece in _halves(text)]
            yield from _block(next(index), {"type": "text", "text": ""}, deltas)
        for call_id, name, arguments in calls:
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *_halves(arguments))]
            yield from _block(next(index), {"type": "tool_use", "id": call_id, "name": name, "input": {}}, deltas)
        delta = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
        yield _event("message_delta", delta=delta, usage={"output_tokens": 5})
        yield _event("message_stop")

    # ConverseStream.

    def _bedrock(
        self,
        text: str,
        thought: str,
        calls: list[tuple[str, str, str]],
        reading: Reading,
        blocked: str = "",
        *,
        is_omitted: bool,
    ) -> Iterator[bytes]:
        yield event_stream_message("messageStart", {"role": "assistant", "p": "abc"})
        index = itertools.count()
        if thought:
            at, signature = next(index), f"sig/{thought}=="
            told = "" if is_omitted else thought
            self.given.thinking.append({"reasoningText": {"text": told, "signature": signature}})
            for reasoning in ({"text": told}, {"signature": signature}):
                yield _converse_delta(at, {"reasoningContent": reasoning})
            yield event_stream_message("contentBlockStop", {"contentBlockIndex": at})
        if text or blocked:
            at = next(index)
            for piece in (*_halves(text), *([blocked] if blocked else [])):
                yield _converse_delta(at, {"text": piece})
            yield event_stream_message("contentBlockStop", {"contentBlockIndex": at})
        for call_id, name, arguments in calls:
            at = next(index)
            start = {"toolUse": {"toolUseId": call_id, "name": name}}
            yield event_stream_message("contentBlockStart", {"contentBlockIndex": at, "start": start})
            for piece in _halves(arguments):
                yield _converse_delta(at, {"toolUse": {"input": piece}})
            yield event_stream_message("contentBlockStop", {"contentBlockIndex": at})
        reason = "guardrail_intervened" if blocked else "tool_use" if calls else "end_turn"
        yield event_stream_message("messageStop", {"stopReason": reason})
        cached = {"cacheReadInputTokens": reading.read, "cacheWriteInputTokens": reading.written}
        usage = {"inputTokens": reading.fresh, **cached, "outputTokens": 5, "totalTokens": reading.total + 5}
        trace = {"trace": {"guardrail": GUARDRAIL_TRACE}} if blocked else {}
        yield event_stream_message("metadata", {"usage": usage, "metrics": {"latencyMs": 10}, **trace})

    # Responses.

    def _responses(
        self, text: str, thought: str, calls: list[tuple[str, str, str]], reading: Reading, *, compacts: bool
    ) -> Iterator[bytes]:
        """Reasoning, a message and calls; what is encrypted is whole in the last event of its item only."""
        events = ResponseEvents()
        yield from events.opening()
        if compacts:
            self.summaries.append(f"Summary {len(self.summaries) + 1}.")
            yield from events.compaction(self.summaries[-1])
        if thought:
            encrypted = f"gAAAA/{thought}=="
            self.given.thinking.append(encrypted)
            yield from events.reasoning(thought, encrypted)
        if text:
            yield from events.message(text, "commentary" if calls else "final_answer")
        for call in calls:
            yield from events.call(*call)
        yield events.ending(reading)

    # Chat Completions.

    def _chat(self, text: str, thought: str, calls: list[tuple[str, str, str]], reading: Reading) -> Iterator[bytes]:
        yield _chunk({"role": "assistant", "content": ""})
        details = self._openrouter_details(thought, calls) if self.family.reasoning == "reasoning_details" else []
        for delta in self._reasoning(thought):
            yield _chunk(delta)
        for piece in _halves(text) if text else ():
            yield _chunk({"content": piece})
        for detail in details:
            yield _chunk({"content": "", "reasoning_details": [detail]})
        for number, call in enumerate(calls):
            for fragment in self._call_fragments(number, *call, is_signed=bool(thought) and number == 0):
                yield _chunk({"tool_calls": [fragment]})
        yield _chunk({}, "tool_calls" if calls else "stop")
        cached = {"cached_tokens": reading.read, "cache_write_tokens": reading.written}
        counts = {"prompt_tokens": reading.total, "completion_tokens": 5, "total_tokens": reading.total + 5}
        usage = {**counts, "prompt_tokens_details": cached}
        yield b"data: %b\n\n" % orjson.dumps(
            {"id": "c1", "object": "chat.completion.chunk", "choices": [], "usage": usage}
        )
        yield b"data: [DONE]\n\n"

    def _reasoning(self, thought: str) -> Iterator[dict[str, Any]]:
        if not thought:
            return
        match self.family.reasoning:
            case "reasoning_content":
                yield from ({"content": None, "reasoning_content": piece} for piece in _halves(thought))
            case "reasoning" | "reasoning_details":
                yield from ({"content": "", "reasoning": piece} for piece in _halves(thought))
            case "thinking_blocks":
                signature = f"sig/{thought}=="
                self.given.thinking.append({"type": "thinking", "thinking": thought, "signature": signature})
                for piece in _halves(thought):
                    block = {"type": "thinking", "thinking": piece}
                    yield {"content": "", "reasoning_content": piece, "thinking_blocks": [block]}
                block = {"type": "thinking", "thinking": "", "signature": signature}
                yield {"content": "", "reasoning_content": "", "thinking_blocks": [block]}

    def _openrouter_details(self, thought: str, calls: list[tuple[str, str, str]]) -> list[dict[str, Any]]:
        if not thought:
            return []
        kind = {"format": "google-gemini-v1"}
        details: list[dict[str, Any]] = [{"type": "reasoning.text", "text": thought, **kind, "index": 0}]
        if calls:
            encrypted = {"type": "reasoning.encrypted", "data": f"enc/{thought}", "id": calls[0][0], **kind, "index": 1}
            details.append(encrypted)
            self.given.details[calls[0][0]] = details
        return details

    def _call_fragments(
        self, number: int, call_id: str, name: str, arguments: str, *, is_signed: bool
    ) -> Iterator[dict[str, Any]]:
        whole = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        match self.name:
            case "gemini":
                if is_signed:
                    signature = self.given.details[call_id] = f"signed/{call_id}"
                    whole["extra_content"] = {"google": {"thought_signature": signature}}
                yield whole
            case "litellm-gemini" | "ollama":
                yield {"index": 0, **whole}
            case "mistral":
                yield {**whole, "index": number}
            case _:
                yield {"index": number, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
                yield from ({"index": number, "function": {"arguments": piece}} for piece in _halves(arguments))


def is_omitted(request: Request) -> bool:
    """Whether a request wants Claude's thinking without its text, as a signature alone."""
    fields = request.body.get("additionalModelRequestFields") or request.body
    return (fields.get("thinking") or {}).get("display") == "omitted"


def _compacts(request: Request) -> bool:
    """Whether the request wants what was said before summarised, and it is that much."""
    wanted: Any = request.body.get("context_management") or ()
    if isinstance(wanted, list):  # Responses
        return any(each["compact_threshold"] < request.tokens for each in wanted)
    return any(edit["trigger"]["value"] < request.tokens for edit in dict(wanted).get("edits", ()))


class ResponseEvents:
    """The events of one response, as openai's package has their types: numbered, and each item announced."""

    def __init__(self) -> None:
        self.output: list[dict[str, Any]] = []
        self._numbers = itertools.count()

    def opening(self) -> Iterator[bytes]:
        """What comes before the first item."""
        response = {**self._response("in_progress"), "usage": None}
        yield self._event("response.created", response=response)
        yield self._event("response.in_progress", response=response)

    def compaction(self, encrypted: str) -> Iterator[bytes]:
        """An item that stands for all that was said before."""
        item = {"id": f"cmp_{len(self.output)}", "type": "compaction", "encrypted_content": encrypted}
        yield self._item("added", item)
        yield self._done(item)

    def reasoning(self, thought: str, encrypted: str) -> Iterator[bytes]:
        """An item of reasoning with a summary of one part."""
        item: dict[str, Any] = {"id": f"rs_{len(self.output)}", "type": "reasoning", "summary": []}
        yield self._item("added", {**item, "encrypted_content": encrypted[:6]})
        place = {"item_id": item["id"], "output_index": len(self.output), "summary_index": 0}
        part = {"type": "summary_text", "text": ""}
        yield self._event("response.reasoning_summary_part.added", **place, part=part)
        for piece in _halves(thought):
            yield self._event("response.reasoning_summary_text.delta", **place, delta=piece)
        part = {**part, "text": thought}
        yield self._event("response.reasoning_summary_text.done", **place, text=thought)
        yield self._event("response.reasoning_summary_part.done", **place, part=part)
        yield self._done({**item, "summary": [part], "encrypted_content": encrypted})

    def message(self, text: str, phase: str) -> Iterator[bytes]:
        """A message of one text."""
        item = {"id": f"msg_{len(self.output)}", "type": "message", "role": "assistant", "phase": phase}
        yield self._item("added", {**item, "status": "in_progress", "content": []})
        place = {"item_id": item["id"], "output_index": len(self.output), "content_index": 0}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield self._event("response.content_part.added", **place, part=part)
        for piece in _halves(text):
            yield self._event("response.output_text.delta", **place, delta=piece, logprobs=[])
        part = {**part, "text": text}
        yield self._event("response.output_text.done", **place, text=text, logprobs=[])
        yield self._event("response.content_part.done", **place, part=part)
        yield self._done({**item, "status": "completed", "content": [part]})

    def call(self, call_id: str, name: str, arguments: str) -> Iterator[bytes]:
        """A function call."""
        item = {"id": f"fc_{len(self.output)}", "type": "function_call", "call_id": call_id, "name": name}
        yield self._item("added", {**item, "status": "in_progress", "arguments": ""})
        place = {"item_id": item["id"], "output_index": len(self.output)}
        for piece in _halves(arguments):
            yield self._event("response.function_call_arguments.delta", **place, delta=piece)
        yield self._event("response.function_call_arguments.done", **place, name=name, arguments=arguments)
        yield self._done({**item, "status": "completed", "arguments": arguments})

    def ending(self, reading: Reading | None = None) -> bytes:
        """The last event, with all items once more."""
        return self._event("response.completed", response=self._response("completed", reading))

    def _response(self, status: str, reading: Reading | None = None) -> dict[str, Any]:
        total, cached, stored = (reading.total, reading.read, reading.written) if reading else (9, 2, 3)
        read, written = {"cached_tokens": cached, "cache_write_tokens": stored}, {"reasoning_tokens": 1}
        usage = {"input_tokens": total, "input_tokens_details": read, "output_tokens": 5, "total_tokens": total + 5}
        head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": status, "error": None}
        fields = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "incomplete_details": None}
        return {**head, **fields, "output": [*self.output], "usage": {**usage, "output_tokens_details": written}}

    def _done(self, item: dict[str, Any]) -> bytes:
        event = self._item("done", item)
        self.output.append(item)
        return event

    def _item(self, what: str, item: dict[str, Any]) -> bytes:
        return self._event(f"response.output_item.{what}", output_index=len(self.output), item=item)

    def _event(self, kind: str, **fields: Any) -> bytes:
        return _event(kind, **fields, sequence_number=next(self._numbers))


async def _cut(exchange: Exchange) -> None:
    exchange.cut()


def _halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [piece for piece in (text[:middle], text[middle:]) if piece]


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind, **fields}))


def _block(index: int, block: dict[str, Any], deltas: list[dict[str, Any]]) -> Iterator[bytes]:
    yield _event("content_block_start", index=index, content_block=block)
    for delta in deltas:
        yield _event("content_block_delta", index=index, delta=delta)
    yield _event("content_block_stop", index=index)


def _converse_delta(index: int, delta: dict[str, Any]) -> bytes:
    return event_stream_message("contentBlockDelta", {"contentBlockIndex": index, "delta": delta, "p": "abcdef"})


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


@contextlib.asynccontextmanager
async def strict_providers(*names: str) -> AsyncIterator[dict[str, StrictProvider]]:
    """Serve these families, or all, on loopback, each under its own host name, for as long as the block runs."""
    providers = {name: StrictProvider(name) for name in names or FAMILIES}
    async with contextlib.AsyncExitStack() as stack:
        for provider in providers.values():
            server = await stack.enter_async_context(upstream(provider.answer))
            provider.port = int(server.url.rpartition(":")[2])
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(socket, "getaddrinfo", _resolver(socket.getaddrinfo))
        yield providers


def _resolver(resolve: Any) -> Any:
    hosts = {family.base_url for family in FAMILIES.values()}

    def resolve_to_loopback(name: Any, *args: Any, **options: Any) -> Any:
        host = name.decode() if isinstance(name, bytes) else name
        return resolve("127.0.0.1" if host and host in hosts else name, *args, **options)

    return resolve_to_loopback
