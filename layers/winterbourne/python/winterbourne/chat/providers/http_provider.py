"""Base class of the HTTP providers: sends a request through the shared connection pool and parses the response.

It does the I/O, timeouts and retries; each provider's format is in its request encoder and its sans-I/O parser.
"""

import asyncio
import contextlib
import functools
import itertools
import json
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, ClassVar, Final, cast
from urllib.parse import urlsplit

import msgspec
import orjson

from winterbourne.chat.core.documents import fit_documents, take_out_data
from winterbourne.chat.core.events import ModelEvent
from winterbourne.chat.core.messages import (
    RETRACTS_ALL,
    AssistantMessage,
    Source,
    SystemMessage,
    Text,
    ToolCall,
    UserMessage,
)
from winterbourne.chat.core.output import with_instructions
from winterbourne.chat.core.provider import ModelRequest
from winterbourne.chat.errors import (
    ModelBusy,
    ModelError,
    ModelGarbled,
    ModelRefused,
    ModelSilent,
    ModelStreamTruncated,
    ModelUnreachable,
)
from winterbourne.chat.http_library import httpx
from winterbourne.chat.infra import http_pool, http_retry
from winterbourne.chat.infra.backoff import backoff_s
from winterbourne.chat.infra.redaction import Known, redact_json
from winterbourne.chat.infra.tracing import SPAN
from winterbourne.chat.providers.assembler import TurnAssembler
from winterbourne.chat.providers.capabilities import ALL_OPTIONS, Family, family_of, parse_capabilities
from winterbourne.chat.providers.errors import ErrorHints, error_for_non_stream_body, error_for_status
from winterbourne.chat.providers.files import Body
from winterbourne.chat.providers.lessons import (
    ASKS_TO_THINK,
    FOR_EVERY_MODEL,
    LEAST_LIMIT,
    MAX_TOKENS,
    Learned,
    apply_lessons,
    max_tokens_allowed,
    refused_for,
    room_left,
)
from winterbourne.chat.providers.opaque import drop_foreign, drop_unreadable, origin_of
from winterbourne.chat.providers.output_format import closed_output
from winterbourne.chat.providers.provider_config import ApiKey, parse_base_url, parse_extra_body
from winterbourne.chat.providers.reasoning import fit_reasoning
from winterbourne.chat.providers.stream_parser import StreamParser
from winterbourne.chat.settings import ModelSettings
from winterbourne.large_body import LargeBody

__all__ = ["MAX_ATTEMPTS", "HttpProvider", "fold_system_messages", "reads", "tool_call_ids"]

MAX_ATTEMPTS: Final = 5

_MAX_ERROR_BODY_BYTES: Final = 64 * 1024  # of an error's body; the rest is not read
_MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024  # of one response on the wire, some 300,000 tokens
_DRAIN_TIMEOUT_S: Final = 0.05
_MAX_ADAPTATIONS: Final = 6  # how often one request is changed because the model refuses it
_TELLING_STATUSES: Final = frozenset({400, 404, 422, 500, 501})  # those of servers that refuse what is sent
_CACHE_FIELDS: Final = ("cache_control", "cachePoint", "prompt_cache")
_DOCUMENT_START: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*[{[<]")

_LOGGER: Final = logging.getLogger(__name__)


class HttpProvider(ABC):
    """A model provider reached over HTTP.

    Args:
        settings: The model's settings.
        api_key: The provider's API key.
        error_hints: The settings that error messages name.
        base_url: The provider's base URL.

    Raises:
        SettingsError: The base URL is invalid, MODEL_EXTRA_BODY is not a JSON object, or MODEL_CAPABILITIES is wrong.
    """

    name: str
    takes_image_urls = True
    default_model: ClassVar[str]
    """The model's id where neither the request nor MODEL_ID names one."""
    parser_type: type[StreamParser[Any]]
    headers: ClassVar[Mapping[str, str]] = {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "accept-encoding": "identity",
    }
    """The headers of every request, besides the key's."""
    ready_path = "/models"
    """What `check_ready` asks for, after the base URL: https://platform.openai.com/docs/api-reference/models/list"""
    key_header = ("authorization", "Bearer ")
    """The name of the key's header, and what comes before the key."""
    signs_reasoning = True
    """Whether only signed reasoning counts where a tool loop has to begin with it."""
    lessons: ClassVar[Learned] = FOR_EVERY_MODEL
    """What refusals may teach."""
    output_lessons: ClassVar[frozenset[str]] = frozenset()
    """What a refusal names if the output cannot be constrained: the field for that."""
    constrain = staticmethod(closed_output)
    """How that is told: see `output_format`."""

    def __init__(self, settings: ModelSettings, api_key: ApiKey, error_hints: ErrorHints, base_url: str) -> None:
        self._settings = settings
        self._model_id = settings.model_id or self.default_model
        self._extra_body = parse_extra_body(settings.model_extra_body)
        parse_capabilities(settings.model_capabilities)
        self._base_url = parse_base_url(base_url, error_hints.base_url)
        self._host = urlsplit(self._base_url).hostname or ""
        self._api_key = api_key
        self._error_hints = error_hints
        self._idle_timeout_s = settings.model_idle_timeout
        self._family = functools.cache(self.capabilities)
        self._parsers: dict[str, type[StreamParser[Any]]] = {}  # by the end of the path, where it is another one
        self._learned: dict[str, Learned] = {}  # by model: those of `lessons` that are known, or that it has taught

    def capabilities(self, model_id: str) -> Family:
        """What a model takes; `model_id` as in `ModelRequest`."""
        own, takes = self._settings.model_capabilities, self.takes_image_urls
        return family_of(self.name, self._host, model_id or self._model_id, own, image_urls=takes)

    def model_of(self, request: ModelRequest) -> str:
        """The model of a request, as in `TurnEnded`."""
        return f"{self.name}:{request.model_id or self._model_id}"

    async def stream(self, request: ModelRequest, /) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Stream one turn. An attempt that fails before its first batch is repeated if that makes sense.

        Raises:
            ModelError: The error of the last attempt. Only ModelBusy and ModelUnreachable are retried.
        """
        request = fold_system_messages(request)
        if _has_opaque_data(request):
            request = drop_foreign(request, self._origin(request))
        if _has_files(request):
            fitted = fit_documents(request.messages, self.capabilities(request.model_id))
            request = msgspec.structs.replace(request, messages=fitted)
        max_attempts = MAX_ATTEMPTS if request.retries else 1
        for attempt in itertools.count(1):
            has_output = False
            try:
                async with aclosing(self._attempt(request)) as batches:
                    async for batch in batches:
                        has_output = True
                        yield batch
            except (ModelBusy, ModelUnreachable) as error:
                pause_s = _pause_s(error, attempt)
                resumes_at = asyncio.get_running_loop().time() + pause_s
                if has_output or attempt == max_attempts or resumes_at >= request.deadline:
                    raise
                _LOGGER.warning("retrying the model's provider in %.1f s: %s", pause_s, error)
                if span := SPAN.get():
                    span.note("chat", http__request__resend_count=attempt)
            else:
                return
            await asyncio.sleep(pause_s)

    async def check_ready(self) -> None:
        """Ask the provider for what costs no tokens, with the key.

        Raises:
            ModelError: It cannot be reached, has failed, or does not know the key. Other refusals say nothing: a key
                may have a right to ask models and no other, and a server no such path.
            ChatError: The key, or the credentials, cannot be read.
        """
        key = await self._api_key.read()
        url, extensions = self._base_url + self.ready_path, dict(http_retry.NO_RETRIES)
        request = http_pool.client().build_request("GET", url, headers=self.headers, extensions=extensions)
        response = await self._deliver(request, key)
        async with aclosing(response), aclosing(reads(response)) as chunks:
            body = await _read_body(chunks)
        is_unknown = response.status_code == 401 and not await self._api_key.refresh(key)
        if is_unknown or (response.status_code >= 500 and response.status_code != 501):
            raise error_for_status(response.status_code, response.headers, body, self._error_hints)

    def _fit_reasoning(self, request: ModelRequest) -> tuple[ModelRequest, dict[str, Any]]:
        """The request as its model takes it, and MODEL_EXTRA_BODY with the fields that ask for its reasoning."""
        family = self._family(request.model_id)
        takes_all = family.options >= ALL_OPTIONS and family.max_output >= (request.max_tokens or 0)
        if takes_all and not (request.reasoning or self._extra_body or family.thinks):
            return request, {}
        return fit_reasoning(request, family, self._extra_body, self._settings, is_signed=self.signs_reasoning)

    @abstractmethod
    def _request_fields(
        self, request: ModelRequest, extra_body: dict[str, Any], learned: Learned
    ) -> tuple[str, dict[str, Any]]:
        """The path after the base URL, and the fields of the JSON body.

        `encode` leaves out those that are None, and omits or renames those in `learned`. There are no system messages
        in the history any more.
        """

    def encode(self, request: ModelRequest, learned: Learned | None = None) -> tuple[str, bytes]:
        """The path after the base URL, and the JSON body as a model takes it that has taught this, or what is known."""
        if learned is None:
            known, told = self._lessons_of(request.model_id), self._told(request)
            learned = {name: known[name] for name in known if name not in told}
        if request.output:
            request, _ = self._output(request, learned)
        if learned:
            request, learned = apply_lessons(request, learned)
        try:
            return self._encode(request, learned)
        except orjson.JSONEncodeError:  # text with half an emoji, of the model or of a tool
            return self._encode(with_whole_characters(request), learned)

    def _encode(self, request: ModelRequest, learned: Learned) -> tuple[str, bytes]:
        path, fields = self._request_fields(*self._fit_reasoning(request), learned)
        names = {name: learned.get(name, name) for name, value in fields.items() if value is not None}
        return path, orjson.dumps({key: fields[name] for name, key in names.items() if key})

    def _output(self, request: ModelRequest, learned: Learned) -> tuple[ModelRequest, dict[str, Any] | None]:
        """The request with what its provider is told of the output in words, and the rest of it for a field."""
        is_native = self.capabilities(request.model_id).schema and self.output_lessons.isdisjoint(learned)
        return self.constrain(request, is_native=is_native)

    async def _sign(self, http_request: httpx.Request) -> None:  # noqa: B027 - most servers without a key need nothing
        """Sign a request for which no key is configured."""

    def _headers_for(self, request: ModelRequest) -> Mapping[str, str]:
        """The headers of a request to a model, besides the key's."""
        del request
        return self.headers

    def _asks_elsewhere(self, status: int, path: str) -> bool:
        """Whether `encode` has another path from now on, because a server has refused this one with this status."""
        del status, path
        return False

    def _cache_places(self, request: ModelRequest, learned: Learned) -> frozenset[str]:
        """Which of `Capabilities.cache` a request makes use of."""
        setting, own = self._settings.model_cache, self._settings.model_extra_body
        if not request.cache or setting == "off" or "cache" in learned or any(name in own for name in _CACHE_FIELDS):
            return frozenset()
        unwanted = {"1h"} if setting == "auto" else set()
        refused = {name.removeprefix("cache_") for name in learned}
        return self.capabilities(request.model_id).cache - unwanted - refused

    def _origin(self, request: ModelRequest) -> str:
        return origin_of(self.name, self._base_url, request.model_id or self._settings.model_id)

    async def _attempt(self, request: ModelRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        response = await self._open_stream(request)
        make_parser = self._parsers.get(response.request.url.path.rpartition("/")[2], self.parser_type)
        assembler = TurnAssembler(tool_call_ids(request), origin=self._origin(request), model=self.model_of(request))
        parser = make_parser(assembler, can_retract=request.retractable in RETRACTS_ALL)
        transport_error: httpx.RequestError | None = None
        received, has_output, opening = 0, False, b""
        try:
            async with aclosing(reads(response)) as chunks:
                async for data in chunks:
                    if batch := parser.feed(data):
                        has_output = True
                        yield batch
                    elif not has_output:  # else it is no document
                        opening += data[: _MAX_ERROR_BODY_BYTES - len(opening)]
                    if parser.failure:
                        opening = await _complete_document(opening, chunks)
                        raise self._classify(parser.failure, None, opening, has_output=has_output)
                    if parser.ended:
                        await _drain(chunks)
                        return
                    received += len(data)
                    if received > _MAX_RESPONSE_BYTES:
                        raise ModelGarbled(f"the model's provider sent more than {_MAX_RESPONSE_BYTES} bytes")
        except httpx.RequestError as error:  # a transport error, or a broken compressed body
            transport_error = error
        finally:
            await response.aclose()
        if batch := parser.close():
            has_output = True
            yield batch
        if parser.failure:
            cause = transport_error
            raise self._classify(parser.failure, cause, opening, has_output=has_output) from cause

    async def _open_stream(self, request: ModelRequest) -> httpx.Response:
        """Send the request and return a streaming response, of any content type: servers label streams wrongly.

        After a 401, try once more if there is a newer key; after a refusal that teaches something, as it was taught.
        """
        key = self._api_key.value or (await self._api_key.read() if self._api_key.is_set else "")
        before = self._lessons_of(request.model_id)
        adaptations = 0
        while True:
            response = await self._send(request, key)
            if response.status_code == 200:
                return response
            async with aclosing(response), aclosing(reads(response)) as chunks:
                body = await _read_body(chunks)
            refused = refused_for(body)
            if response.status_code == 401:
                can_repeat = bool(new_key := await self._api_key.refresh(key))
                key = new_key or key
            elif self._asks_elsewhere(response.status_code, response.request.url.path):
                can_repeat = True
            elif (rest := self._instead(request, body, refused)) is not None:
                request, can_repeat = rest, rest != request
            else:
                is_telling = response.status_code in _TELLING_STATUSES or b"prompt caching" in body  # Bedrock: with 403
                can_repeat = is_telling and self._learn_from(request, body)
            if not can_repeat or adaptations == _MAX_ADAPTATIONS:
                break
            adaptations += 1
        did_not_help, learned = {*refused} - before.keys(), self._lessons_of(request.model_id)
        self._learned[request.model_id] = {name: learned[name] for name in learned if name not in did_not_help}
        error = error_for_status(response.status_code, response.headers, body, self._error_hints)
        names = ("reasoning" if name in ASKS_TO_THINK else name for name in refused)
        if type(error) is ModelRefused and (named := next(filter(request.options().__contains__, names), "")):
            error.public_message = f"The model does not accept this request: it refuses {named}."
        raise error

    def _instead(self, request: ModelRequest, body: bytes, refused: Sequence[str]) -> ModelRequest | None:
        """What is asked if a refusal is about what stands together in this request: the same if there is nothing else.

        None for one that may be about all requests.
        """
        if "encrypted_content" in refused and (rest := drop_unreadable(request)) != request:
            return rest
        if (room := room_left(body)) is not None:
            has_room = LEAST_LIMIT <= room < (request.max_tokens or 0)
            return msgspec.structs.replace(request, max_tokens=room) if has_room else request
        if request.output and "schema" in refused and not self.output_lessons.isdisjoint(refused):
            return msgspec.structs.replace(with_instructions(request), output=None)
        has_temperature = request.temperature is not None
        is_beside_top_p = request.top_p is not None and "top_p" in refused
        is_thinking = has_temperature and self._is_to_think(request)
        if "temperature" not in refused or not (is_beside_top_p or is_thinking):
            return None
        is_default = has_temperature and not self._is_callers(request, "temperature")
        return msgspec.structs.replace(request, temperature=None) if is_default else request

    def _learn_from(self, request: ModelRequest, body: bytes) -> bool:
        """Whether a refusal tells how to change the request. That model's requests are changed so from now on."""
        known, told = self._lessons_of(request.model_id), self._told(request)
        sent = self.encode(request, known)
        limit = max_tokens_allowed(body, request.max_tokens)
        lessons = {**self.lessons, MAX_TOKENS: limit} if limit else self.lessons
        for name in (*([MAX_TOKENS] if limit else ()), *refused_for(body)):
            learned = {**known, name: lessons.get(name)}
            is_new = name in lessons and (name not in known or name == MAX_TOKENS)
            if is_new and name not in told and self.encode(request, learned) != sent:
                self._learned[request.model_id] = learned
                _LOGGER.warning("the model refuses a request because of %s: it is changed, as later ones are", name)
                return True
        return False

    def _told(self, request: ModelRequest) -> frozenset[str]:
        """What is not left out when it is refused, but told to the caller, who asks for it."""
        told = ASKS_TO_THINK if self._is_to_think(request) else frozenset[str]()
        is_chosen = request.temperature not in {None, 1} and self._is_callers(request, "temperature")
        return told | {"temperature"} if is_chosen else told

    def _is_to_think(self, request: ModelRequest) -> bool:
        """Whether the caller asks for reasoning."""
        return request.reasoning not in {None, "none"} and self._is_callers(request, "reasoning")

    def _is_callers(self, request: ModelRequest, option: str) -> bool:
        """Whether an option is another than the settings', of the model that was chosen: a fallback does as it can."""
        return getattr(request, option) != getattr(self._settings, f"model_{option}") and not request.failed

    def _lessons_of(self, model_id: str) -> Learned:
        """What is to be changed for a model: at first what is known of its family."""
        if model_id not in self._learned:
            family = self._family(model_id)
            takes = {"tools": family.tools, "system": family.system, "images": family.images}
            takes["tool_choice"] = family.forces_tools
            self._learned[model_id] = {name: None for name, is_taken in takes.items() if not is_taken}
        return self._learned[model_id]

    async def _send(self, request: ModelRequest, key: str) -> httpx.Response:
        headers = self._headers_for(request)
        large = LargeBody()
        if _has_files(request):
            messages, large = take_out_data(request.messages, texts=False)
            request = msgspec.structs.replace(request, messages=messages)
        path, content = self.encode(request)
        if Known.index.forms:
            content = redact_json(content)
        client = http_pool.client()
        connect_s = min(self._idle_timeout_s, client.timeout.connect or self._idle_timeout_s)
        timeout = httpx.Timeout(self._idle_timeout_s, connect=connect_s, pool=connect_s)
        url = self._base_url + path
        http_request = client.build_request("POST", url, content=content, headers=headers, timeout=timeout)
        if span := SPAN.get():
            port = http_request.url.port or {"https": 443}.get(http_request.url.scheme, 80)
            span.note("chat", server__address=self._host, server__port=port)
        if large.runs:
            large.text = content
            http_request = Body(large).sent_by(http_request)
        http_request.extensions.update(http_retry.NO_RETRIES)  # those of a turn are `stream`'s
        try:
            return await self._deliver(http_request, key)
        finally:
            large.runs.clear()  # httpx keeps a request, in a cycle, until the garbage collector comes

    async def _deliver(self, http_request: httpx.Request, key: str) -> httpx.Response:
        if key:
            name, prefix = self.key_header
            http_request.headers[name] = prefix + key
        else:
            await self._sign(http_request)
        try:
            return await http_pool.client().send(http_request, stream=True)
        except httpx.ReadTimeout as error:
            raise self._idle_timeout_error() from error
        except httpx.PoolTimeout as error:
            text = "no connection to the model's provider became free; check HTTP_POOL_MAXSIZE"
            raise ModelUnreachable(text) from error
        except httpx.TransportError as error:
            if not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                http_pool.replace_connections()
            setting = self._error_hints.base_url
            raise ModelUnreachable(f"the model's provider cannot be reached; check {setting}") from error

    def _classify(
        self, failure: ModelError, cause: httpx.RequestError | None, opening: bytes, *, has_output: bool
    ) -> ModelError:
        """The error for a stream that failed. An error that the provider itself reported takes precedence.

        Args:
            failure: What the parser says.
            cause: What broke the connection, if it broke.
            opening: The first bytes of the body, for one that turns out to be a document.
            has_output: Whether any of the answer has been seen.
        """
        is_document = _DOCUMENT_START.match(opening) and not has_output and not cause
        if is_document and isinstance(failure, ModelStreamTruncated | ModelGarbled):
            return error_for_non_stream_body(opening, self._error_hints)
        if not isinstance(failure, ModelStreamTruncated):
            return failure
        if isinstance(cause, httpx.ReadTimeout):
            return self._idle_timeout_error()
        if isinstance(cause, httpx.DecodingError):
            return ModelGarbled("the response of the model's provider cannot be decoded")
        if not has_output:
            what = "connection to the model's provider broke" if cause else "response of the model's provider ended"
            return ModelUnreachable(f"the {what} before any output arrived")
        return failure

    def _idle_timeout_error(self) -> ModelSilent:
        seconds = f"{self._idle_timeout_s:g} s"
        return ModelSilent(f"the model's provider sent nothing for {seconds}; check MODEL_IDLE_TIMEOUT")


def fold_system_messages(request: ModelRequest) -> ModelRequest:
    """The request with the history's system messages in `system`, after what is there: the settings', the caller's."""
    texts = [message.text for message in request.messages if isinstance(message, SystemMessage)]
    if not texts:
        return request
    others = tuple(message for message in request.messages if not isinstance(message, SystemMessage))
    return msgspec.structs.replace(request, messages=others, system="\n\n".join(filter(None, (request.system, *texts))))


def with_whole_characters(request: ModelRequest) -> ModelRequest:
    """The request with U+FFFD in place of each lone surrogate: JSON for a provider has to be UTF-8."""
    text = json.dumps(msgspec.to_builtins(request), ensure_ascii=False)
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return msgspec.convert(json.loads(text), ModelRequest)


def tool_call_ids(request: ModelRequest) -> set[str]:
    """The ids of all tool calls in the history."""
    turns = (message.parts for message in request.messages if isinstance(message, AssistantMessage))
    return {part.id for parts in turns for part in parts if isinstance(part, ToolCall)}


def _has_opaque_data(request: ModelRequest) -> bool:
    turns = (message.parts for message in request.messages if isinstance(message, AssistantMessage))
    return any(part.opaque for parts in turns for part in parts if not isinstance(part, Text | Source))


def _has_files(request: ModelRequest) -> bool:
    users = (message.parts for message in request.messages if isinstance(message, UserMessage))
    return any(not isinstance(part, Text) for parts in users for part in parts)


def reads(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body of a streamed response, one item per socket read: one batch of events, and one write to the client.

    The pool has already decompressed it if necessary. Through a proxy, httpx yields one item per HTTP chunk instead.

    Raises:
        httpx.TransportError: Reading failed.
        httpx.DecodingError: The compressed body is broken, too large, or in an unsupported encoding.

    Cancellation:
        Closing this generator does not close the response; the caller must.
    """
    # `aiter_raw` has the same, with layers around each read. What httpx declares as an iterator is a generator.
    return cast("AsyncGenerator[bytes, None]", aiter(cast("httpx.AsyncByteStream", response.stream)))


def _pause_s(error: ModelError, attempt: int) -> float:
    """Exponential backoff with full jitter. If the provider asked for a delay: that delay plus some jitter."""
    pause_s = backoff_s(attempt, base_s=0.5, max_s=8)
    retry_after_s = error.retry_after_s if isinstance(error, ModelBusy) else None
    return pause_s if retry_after_s is None else retry_after_s + pause_s / 4


async def _complete_document(opening: bytes, chunks: AsyncGenerator[bytes, None]) -> bytes:
    """The opening of a body, with what follows if it is a document instead of a stream."""
    return opening + await _read_body(chunks) if _DOCUMENT_START.match(opening) else opening


async def _read_body(chunks: AsyncGenerator[bytes, None]) -> bytes:
    """Read the beginning of an error's body. Never fails: the status is enough."""
    body = b""
    with contextlib.suppress(httpx.RequestError):
        async for data in chunks:
            body += data
            if len(body) > _MAX_ERROR_BODY_BYTES:
                break
    return body


async def _drain(chunks: AsyncGenerator[bytes, None]) -> None:
    """Read the rest of a body whose turn has ended, for a short time, so that its connection can be reused."""
    with contextlib.suppress(TimeoutError, httpx.RequestError):
        async with asyncio.timeout(_DRAIN_TIMEOUT_S):
            async for _ in chunks:
                pass
