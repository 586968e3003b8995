"""The public API as its users write it, for type checkers alone: nothing here is run.

Each right call is one that they must accept; `assert_type` says what it results in. Each wrong call has a comment with
the error that they must find there: one they do not find makes the comment itself an error.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, assert_type

import msgspec
from msgspec import Meta

import winterbourne
from winterbourne import (
    DeadlineReached,
    LambdaContext,
    PreludeTooLarge,
    Response,
    ResponseStream,
    ShuttingDown,
    StreamLost,
    StreamMisused,
    WinterbourneError,
    after_restore,
    before_snapshot,
    current_context,
    current_trace_id,
    on_shutdown,
    on_stall,
    on_startup,
    on_stream_error,
    redact_logs,
    retire,
    streamify_response,
)
from winterbourne.chat import (
    ApiKey,
    Authenticator,
    Backend,
    Caller,
    Chat,
    ChatRequest,
    Credentials,
    Encoder,
    Format,
    Item,
    ModelRequest,
    Provider,
    RequestRejected,
    ResumedAnswer,
    SettingsError,
    Store,
    ToolContext,
    ToolError,
    ToolUnavailable,
    ToolWorker,
    get_json,
    presign,
    remote_tool,
    tool,
)
from winterbourne.chat.core import events
from winterbourne.chat.core.messages import Message, Text, UserMessage
from winterbourne.chat.settings import AuthSettings, ModelSettings, Settings
from winterbourne.local.testing import ask

# Tools, in all their forms


@tool
async def tide(harbour: str, days: Annotated[int, Meta(ge=1, le=7)] = 1) -> float:
    """The height of the tide."""
    return len(harbour) / days


@tool(name="water_level", timeout_s=5, retries=2, cache_ttl_s=60, cache_per_caller=False, concurrency=4)
def level(harbour: str) -> dict[str, float]:
    """The level of the water."""
    return {harbour: 1.5}


@tool()
async def survey(harbour: str) -> AsyncIterator[float]:
    """Survey a harbour; all but the last are progress."""
    yield float(len(harbour))


async def berths_of_all(calls: Sequence[Any], context: ToolContext) -> list[int | Exception]:
    return [len(call.harbour) if context.caller else ToolError("Who asks?") for call in calls]


@tool(batch=berths_of_all, batch_window_s=0.02)
async def berths(harbour: str) -> int:
    """Count the berths of a harbour; many at once are one request."""
    return len(harbour)


class Order(msgspec.Struct):
    number: int
    state: str = "open"


@tool(keys=["SHOP_API_KEY"], needs=("SHOP_URL",), breaker="shop", max_result_bytes=4096)
async def order(number: int, context: ToolContext) -> Order:
    """Look up an order."""
    key = assert_type(await context.key("SHOP_API_KEY"), str)
    url = assert_type(context.setting("SHOP_URL"), str)
    await context.progress({"step": 1})
    headers = {"x-key": key, "x-request": assert_type(context.request_id, str)}
    found = await get_json(context, "shop", url, Order, params={"number": number}, headers=headers, not_found="No.")
    lines = await get_json(context, "shop", f"{url}/lines", list[dict[str, int]], params={"days": 1.5, "of": "all"})
    assert_type(lines, list[dict[str, int]])
    assert_type(await get_json(context, "shop", f"{url}/newest", Order), Order)
    assert_type(context.remaining_s, float)
    response = await context.http.get(url)
    if assert_type(response.status_code, int) == 503:
        raise ToolUnavailable("The shop is closed.")
    assert_type(await context.in_thread(lambda: sum(lines[0].values())), int)
    link = await presign("orders", f"{number}.pdf", expires_s=600, query={"response-content-type": "text/plain"})
    await context.progress({"link": assert_type(link, str)})
    return assert_type(found, Order)


@tool
def print_label(number: int, context: ToolContext) -> str:
    """Print a label, in a thread."""
    context.wait(context.progress(50))
    key = assert_type(context.wait(context.key("SHOP_API_KEY")), str)
    return assert_type(context.sync_http.get(key).text, str)[:number]


@remote_tool("{TOOL_WORKER_FUNCTION}", name="render", timeout_s=60, needs=["RENDER_STYLE"])
async def render_chart(numbers: list[float]) -> None:
    """Draw a chart, in the worker."""


def declared_at_run_time(function: Callable[[int], str]) -> None:
    assert_type(tool(function)(1), str)
    assert_type(tool(timeout_s=1)(function)(1), str)


async def in_their_tests(context: ToolContext) -> None:
    assert_type(await tide("Whitby", days=2), float)
    assert_type(level("Whitby"), dict[str, float])
    async for height in survey("Whitby"):
        assert_type(height, float)
    assert_type(await berths(harbour="Whitby"), int)
    assert_type(await order(1, context), Order)
    assert_type(print_label(1, context), str)
    assert_type(tide.name, str)
    assert_type(render_chart.schema.parameters, dict[str, object])


async def wrong_tools(context: ToolContext) -> None:
    tool("water_level")  # type: ignore[call-overload]
    tool(timeout=5)  # type: ignore[call-overload]
    tool(timeout_s="5")  # type: ignore[call-overload]
    tool(keys=5)  # type: ignore[call-overload]
    remote_tool("worker", timeout=5)  # type: ignore[call-arg]
    remote_tool(None)  # type: ignore[arg-type]
    await tide(1)  # type: ignore[arg-type]
    await tide("Whitby", weeks=1)  # type: ignore[call-arg]
    await level("Whitby")  # type: ignore[misc]
    await order(1)  # type: ignore[call-arg]
    assert (await order(1, context)).price  # type: ignore[attr-defined]
    await context.key()  # type: ignore[call-arg]
    await context.key("SHOP_API_KEY", "")  # type: ignore[call-arg]
    context.setting(1)  # type: ignore[arg-type]
    context.wait("key")  # type: ignore[arg-type]
    assert context.keys  # type: ignore[attr-defined]
    await get_json(context, "shop", "https://shop.example")  # type: ignore[call-arg]
    await presign("orders", "1.pdf", method="POST")  # type: ignore[arg-type]
    assert (await get_json(context, "shop", "https://x.example", Order, params={})).price  # type: ignore[attr-defined]


# A chat


def every_kind_of_tools(package: ModuleType) -> None:
    Chat()
    Chat(tools=package)
    Chat(tools=tide)
    Chat(tools=len)
    Chat(tools=[package, tide, level, survey, berths, order, render_chart, len])
    Chat(tools=(package,))
    ToolWorker(tools=package, tool_execution_timeout=60)
    several = [tide, level, render_chart]
    Chat(tools=several)
    ToolWorker(tools=several)


async def every_kind_of_argument(context: LambdaContext) -> None:
    chat = Chat(
        instructions="You know the harbours.",
        title="Harbour desk",
        greeting="Ahoy\n\nAsk about tides.",
        suggestions=("When is high water?",),
        accent="#1d6b7c",
        logo=Path("logo.svg"),
        footer="Be kind.",
        styles={"--serif": "Georgia"},
        page=False,
        providers={"pier": make_pier, "second": PierProvider},
        formats=[FORMAT],
        stores={"shelf": open_shelf},
        auth_schemes={"badge": make_badges},
        model_provider="pier",
        model_temperature=0.2,
        max_turns=6,
        http_timeout=5,
        log_messages=True,
    )
    Chat(instructions=Path("instructions.md"), logo="logo.svg", suggestions=["When?"], model_temperature=None)
    Chat(suggestions=None, styles=None)
    assert_type(chat.settings, Settings)
    assert_type(chat.settings.model.model_id, str)
    chat.handler({}, context)
    assert_type(ask(chat.handler, "When is high water?", timeout_s=5), list[dict[str, Any]])
    worker = ToolWorker(tools=(), max_turns=1)
    assert_type(worker.settings, Settings)
    assert_type(await worker.handler({"tool": "tide"}, context), dict[str, Any])


def wrong_chats(chat: Chat, mapping: dict[str, str]) -> None:
    Chat(tide)  # type: ignore[call-arg]
    Chat(tools="chat.tools")  # type: ignore[arg-type]
    Chat(tools=[1])  # type: ignore[list-item]
    Chat(tools=mapping)  # type: ignore[arg-type]
    Chat(instructions=None)  # type: ignore[arg-type]
    Chat(suggestions=[1])  # type: ignore[list-item]
    Chat(styles={"--ink": 1})  # type: ignore[dict-item]
    Chat(max_turn=6)  # type: ignore[call-arg]
    Chat(MAX_TURNS=6)  # type: ignore[call-arg]
    Chat(max_turns="6")  # type: ignore[arg-type]
    Chat(model_id=6)  # type: ignore[arg-type]
    Chat(http_timeout="5")  # type: ignore[arg-type]
    Chat(log_messages="yes")  # type: ignore[arg-type]
    Chat(providers=[make_pier])  # type: ignore[arg-type]
    Chat(providers={"badge": make_badges})  # type: ignore[dict-item]
    Chat(formats=FORMAT)  # type: ignore[arg-type]
    Chat(stores={"shelf": Shelf})  # type: ignore[dict-item]
    Chat(auth_schemes={"pier": make_pier})  # type: ignore[dict-item]
    ToolWorker()  # type: ignore[call-arg]
    ToolWorker(tools=(), title="Worker")  # type: ignore[call-arg]
    assert chat.asgi_app  # type: ignore[attr-defined]
    ask(chat, "When?")  # type: ignore[arg-type]
    ask(chat.handler)  # type: ignore[call-arg]


# Parts of one's own


class PierProvider:
    name = "pier"
    takes_image_urls = False

    def __init__(self, settings: ModelSettings) -> None:
        self._key = ApiKey.of("PIER_API_KEY")
        self._model = settings.model_id

    async def stream(self, asked: ModelRequest, /) -> AsyncGenerator[Sequence[events.ModelEvent], None]:
        key = assert_type(await self._key.read(), str)
        assert_type(asked.messages, tuple[Message, ...])
        assert_type(asked.temperature, float | None)
        yield [events.TextDelta(key), events.TurnEnded("stop", events.Usage(3, 2))]


def make_pier(settings: ModelSettings) -> Provider:
    if not settings.model_id:
        raise SettingsError("MODEL_ID: needed")
    return PierProvider(settings)


class PlainEncoder:
    status = 200
    headers: Mapping[str, str] = {"content-type": "text/plain"}
    heartbeat = b""

    def encode(self, events_of_one_read: events.EventBatch, /) -> bytes:
        return b"".join(each.text.encode() for each in events_of_one_read if isinstance(each, events.TextDelta))


def decode(body: dict[str, Any]) -> tuple[ChatRequest, Encoder]:
    if "question" not in body:
        raise RequestRejected(400, "invalid_body", "A question is needed.", {"x-hint": "question"})
    return ChatRequest(messages=(UserMessage((Text(body["question"]),)),), store=True), PlainEncoder()


def encode_error(status: int, code: str, message: str, request_id: str) -> tuple[str, bytes]:
    return "text/plain", f"{status} {code} {message} {request_id}".encode()


def resume(answer: ResumedAnswer) -> Encoder:
    assert answer.conversation_id
    return PlainEncoder()


FORMAT = Format("/plain", decode, encode_error)
RESUMING = Format("/plain", decode, encode_error, resume, shows_history=True)


class Shelf:
    """Its parameters have names of their own."""

    def get(self, partition: str, sort: str) -> Item | None:
        return Item(pk=partition, sk=sort, body=b"", number=1, updated_ms=2, expires_at_s=3)

    def query_partition(self, partition: str) -> list[Item]:
        return []

    def query_newest(self, partition: str, most: int, after: Item | None) -> list[Item]:
        return []

    def put(self, items: Sequence[Item]) -> None: ...

    def compare_and_set(self, item: Item, now: float) -> bool:
        return bool(item.number)

    def increment(self, partition: str, sort: str, by: int, expires: int) -> int:
        return by

    def delete(self, keys: Sequence[tuple[str, str]]) -> None: ...

    def delete_expired(self, now: float) -> None: ...

    def close(self) -> None: ...


def make_shelf() -> Backend:
    return Shelf()


def open_shelf(name: str) -> Store:
    return Store(Shelf, threads=1, is_shared=bool(name))


class Badges:
    async def prepare(self) -> None: ...

    async def authenticate(self, credentials: Credentials) -> Caller:
        if not (user := credentials.headers.get("x-badge", "")):
            raise RequestRejected(401, "unauthorized", "A badge is needed.")
        return Caller(f"badge:{user}", user)


def make_badges(settings: AuthSettings) -> Authenticator:
    assert_type(settings.auth, str)
    return Badges()


class HalfAShelf:
    def get(self, partition: str, sort: str) -> Item | None: ...


def take_parts(provider: Provider, encoder: Encoder, scheme: Authenticator) -> None: ...


def wrong_parts(provider: PierProvider, shelf: Shelf) -> None:
    take_parts(shelf, PlainEncoder(), Badges())  # type: ignore[arg-type]
    take_parts(provider, provider, Badges())  # type: ignore[arg-type]
    take_parts(provider, PlainEncoder(), Badges)  # type: ignore[arg-type]
    Store(shelf, threads=1, is_shared=True)  # type: ignore[arg-type]
    Store(HalfAShelf, threads=1, is_shared=True)  # type: ignore[arg-type]
    Store(Shelf)  # type: ignore[call-arg]
    Format("/plain", encode_error, decode)  # type: ignore[arg-type]
    Format("/plain", decode)  # type: ignore[call-arg]
    Format("/plain", decode, encode_error, encode_error)  # type: ignore[arg-type]
    Caller("badge:nora")  # type: ignore[call-arg]
    Item("pk", "sk")  # type: ignore[call-arg]
    ChatRequest(messages="Hello")  # type: ignore[arg-type]
    ModelRequest(messages=(), model="small")  # type: ignore[call-arg]
    RequestRejected("400", "invalid_body", "A question is needed.")  # type: ignore[arg-type]
    ApiKey.of(1)  # type: ignore[arg-type]


# The runtime


@streamify_response
async def streams(event: Any, response_stream: ResponseStream, context: LambdaContext) -> None:
    await response_stream.start(Response(200, {"content-type": "text/plain"}, cookies=["theme=dark"]))
    await response_stream.write("text")
    await response_stream.write(b"bytes")
    assert_type(response_stream.started, bool)
    assert_type(response_stream.response, Response | None)
    assert_type(context.get_remaining_time_in_millis(), int)
    assert_type(context.aws_request_id, str)
    assert_type(context.w3c(), dict[str, str])
    try:
        await response_stream.end()
    except (StreamMisused, StreamLost, PreludeTooLarge, DeadlineReached, ShuttingDown) as error:
        context.log(assert_type(error, StreamMisused | StreamLost | PreludeTooLarge | DeadlineReached | ShuttingDown))
        failure: WinterbourneError = error
        raise failure from None


@streamify_response
def yields(event: Any, context: LambdaContext) -> Iterator[Response | str | bytes]:
    yield Response(headers=[("x-one", "1"), ("x-one", "2")])
    yield "words"


async def asgi(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})


@on_startup
async def connect() -> None: ...


@on_shutdown
@before_snapshot
def disconnect() -> None: ...


@after_restore
def reconnect() -> int:
    return 1


@on_stall
def blocked(blocker: str, has_ended: object) -> None:
    assert blocker or has_ended


@on_stream_error
def last_frame(error: BaseException) -> str:
    return f"event: error\ndata: {type(error).__name__}\n\n"


async def the_runtime(event: Any, context: LambdaContext) -> None:
    streams(event, context)
    yields(event, LambdaContext({"lambda-runtime-deadline-ms": "1"}, {}))
    streamify_response(asgi)(event, context)
    redact_logs(lambda text: text.replace("key", "[redacted]"))
    assert_type(current_context(), LambdaContext | None)
    assert_type(current_trace_id(), str | None)
    assert_type(winterbourne.__version__, str)
    await connect()
    assert_type(reconnect(), int)
    assert_type(last_frame(ValueError()), str)
    retire()


async def wrong_uses_of_the_runtime(stream: ResponseStream, context: LambdaContext) -> None:
    streamify_response("app.handler")  # type: ignore[arg-type]
    streams({}, stream, context)  # type: ignore[call-arg, arg-type]
    await stream.write(1)  # type: ignore[arg-type]
    await stream.start(200)  # type: ignore[arg-type]
    Response("200")  # type: ignore[arg-type]
    Response(headers={"content-length": 5})  # type: ignore[arg-type]
    assert current_context().aws_request_id  # type: ignore[union-attr]
    assert context.deadline  # type: ignore[attr-defined]
    redact_logs(print)  # type: ignore[arg-type]
    retire(context)  # type: ignore[call-arg]
    on_startup(wrong_hook)  # type: ignore[type-var]
    on_shutdown(wrong_hook)  # type: ignore[type-var]
    before_snapshot(wrong_hook)  # type: ignore[type-var]
    after_restore(wrong_hook)  # type: ignore[type-var]
    on_stream_error(wrong_hook)  # type: ignore[type-var]
    on_startup(connect())  # type: ignore[type-var, unused-coroutine]


def wrong_hook(event: str) -> int:
    return len(event)
