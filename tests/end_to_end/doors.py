"""One chat behind each door, and what a client gets through it: for the suite that compares the doors."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import boto3
import botocore.config
import httpx

from tests.coverage_variables import COVERAGE
from tests.local_server import ROOT, local_server
from tests.recorded.normalize import steady
from winterbourne.local.request_event import Request, build_event
from winterbourne.override import override

__all__ = ["KEY", "OTHER_SERVERS", "Answer", "Ask", "Door", "Doors"]

KEY: Final = "a-key-of-the-suite"

APP: Final = '''
import asyncio
import json
from pathlib import Path
from urllib.parse import parse_qsl

from winterbourne.chat import Caller, Chat, RequestRejected, tool
from winterbourne.chat.core.events import TextDelta
from winterbourne.chat.core.messages import Text, UserMessage
from winterbourne.chat.providers import scripted

MARKS = Path(__file__).with_name("marks.txt")


def mark(what):
    with MARKS.open("a") as marks:
        marks.write(what + "\\n")


class Watched:
    """The scripted model; asked to talk on, it does, and what becomes of that is marked."""

    name = "watched"
    takes_image_urls = True

    def __init__(self, settings):
        self._scripted = scripted.make(settings)

    async def stream(self, request):
        last = request.messages[-1]
        said = "".join(p.text for p in last.parts if isinstance(p, Text)) if isinstance(last, UserMessage) else ""
        if "talk on" in said:
            has_ended = False
            try:
                for _ in range(10_000 if "for ever" in said else 30):
                    yield [TextDelta("on ")]
                    await asyncio.sleep(0.02)
                has_ended = True
            finally:
                mark("ended" if has_ended else "cancelled")
        async for batch in self._scripted.stream(request):
            yield batch


class Echo:
    """Wants a key; and shows a caller who asks for it what has arrived of the request."""

    async def prepare(self):
        pass

    async def authenticate(self, request):
        if "x-echo" in request.headers:
            shown = {name: request.headers.get(name) for name in ("cookie", "x-probe", "user-agent")}
            query = parse_qsl(request.raw_query, keep_blank_values=True)
            seen = [request.method, request.raw_path, query, shown, request.client, dict(request.identity)]
            raise RequestRejected(403, "echo", json.dumps(seen))
        if request.headers.get("authorization") != "Bearer KEY":
            raise RequestRejected(401, "unauthorized", "A key is needed.")
        return Caller("door", "door")


@tool
def add(first: int, second: int) -> dict[str, int]:
    """Add two numbers.

    Args:
        first: One.
        second: The other.
    """
    return {"sum": first + second}


chat = Chat(
    tools=[add],
    title="Doors",
    providers={"watched": Watched},
    auth_schemes={"echo": lambda _: Echo()},
    model_provider="watched",
)
handler = chat.handler
'''.replace("KEY", KEY)

SETTINGS: Final = {
    "AUTH": "echo",
    "MODEL_PROVIDER": "watched",
    "SCRIPTED_WORDS_PER_SECOND": "0",
    "MAX_BODY_BYTES": str(2 * 1024 * 1024),
    "ON_DISCONNECT": "cancel",
    "TITLE_MODEL": "off",
    "SIGNING_KEY": "one key for all environments of the chat",
}
OWN_HEADERS: Final = frozenset(
    {
        *("connection", "content-length", "date", "server", "transfer-encoding"),
        *("x-amz-apigw-id", "x-amzn-requestid", "x-amzn-trace-id", "lambda-web-logstream", "lambda-web-request-id"),
        *("x-amzn-bedrock-agentcore-runtime-session-id", "x-request-id"),
    }
)
"""Headers of the door, and those of the way in which it frames a body."""


@dataclass(frozen=True)
class Ask:
    """A request; a dictionary as its body is sent as JSON."""

    method: str
    path: str
    body: Any = b""
    headers: Mapping[str, str] | tuple[tuple[str, str], ...] = field(default_factory=dict)
    has_key: bool = True

    def send(self, client: httpx.Client) -> httpx.Response:
        return client.request(self.method, **self.arguments(client))

    def arguments(self, client: httpx.Client) -> dict[str, Any]:
        is_json = isinstance(self.body, dict)
        headers = [*dict(self.headers).items()] if isinstance(self.headers, Mapping) else [*self.headers]
        headers += [("content-type", "application/json")] if is_json else []
        headers += [("authorization", f"Bearer {KEY}")] if self.has_key else []
        content = json.dumps(self.body).encode() if is_json else self.body
        return {"url": f"{str(client.base_url).rstrip('/')}{self.path}", "content": content, "headers": headers}


@dataclass(frozen=True)
class Answer:
    """What a client gets, without what differs in each run or is the door's own."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str

    @classmethod
    def of(cls, response: httpx.Response) -> "Answer":
        pairs = [(name, value) for name, value in response.headers.multi_items() if name not in OWN_HEADERS]
        return cls(
            response.status_code, tuple(sorted(pairs)), steady(response.content.decode(errors="backslashreplace"))
        )


class Door:
    """A running chat behind a door.

    Attributes:
        name: The door's.
        url: Where it is asked.
        log: What it has logged.
    """

    def __init__(self, name: str, url: str, folder: Path, log: Path) -> None:
        self.name, self.url, self.log = name, url, log
        self._marks = folder / "functions" / "chat" / "marks.txt"
        self._invoke = _InvokeTransport(url) if name == "invoke" else None
        self.client = httpx.Client(base_url=url, transport=self._invoke, timeout=10)

    def ask(self, *asks: Ask) -> list[Answer]:
        """The answers to these requests, one after the other."""
        return [Answer.of(ask.send(self.client)) for ask in asks]

    def echo(self, event: dict[str, Any]) -> Any:
        """What arrives of an event that Lambda is invoked with."""
        assert self._invoke
        response = self._invoke.invoke(event)
        response.read()
        return json.loads(response.json()["error"]["message"])

    def became_of_model(self) -> str:
        """What became of the model that was asked to talk on, once it has; this was not asked of before."""
        for _ in range(1000):
            if self._marks.exists() and (mark := self._marks.read_text().strip()):
                self._marks.unlink()
                return mark
            time.sleep(0.01)
        raise AssertionError(f"{self.name}: it goes on")


class Doors(ExitStack):
    """The doors, each started when it is first asked for; all stopped at the end."""

    def __init__(self, root: Path, *flags: str) -> None:
        super().__init__()
        self._root, self._flags = root, flags
        self._running: dict[str, Door] = {}
        self._answers: dict[str, list[Answer]] = {}

    def __getitem__(self, name: str) -> Door:
        if name not in self._running:
            door = self.enter_context(_serving(self._root / name.replace(" ", "-"), name, *self._flags))
            self.callback(door.client.close)
            self._running[name] = door
        return self._running[name]

    def reference(self, title: str, *asks: Ask) -> list[Answer]:
        """What the function URL answers to a visit, which it is asked once."""
        if title not in self._answers:
            self._answers[title] = self["url"].ask(*asks)
        return self._answers[title]


def _serving(folder: Path, name: str, *flags: str) -> AbstractContextManager[Door]:
    app = folder / "functions" / "chat"
    app.mkdir(parents=True)
    (app / "__init__.py").write_text("")
    (app / "app.py").write_text(APP)
    return _other_server(folder, name) if name in OTHER_SERVERS else _local_server(folder, name, *flags)


@contextmanager
def _local_server(folder: Path, name: str, *flags: str) -> Iterator[Door]:
    door, *options = name.split()  # "rest --base-path=tiler"
    settings = [flag for pair in SETTINGS.items() for flag in ("--env", "=".join(pair))]
    arguments = ["--door", door, *options, "--task-root", str(folder / "functions"), *settings, *flags]
    with local_server(folder, *arguments) as server:
        yield Door(name, server.url, folder, server.log)


OTHER_SERVERS: Final = {
    "granian": "-m granian --interface asgi --log-level warning --host 127.0.0.1 --port PORT chat.app:chat.asgi",
    "hypercorn": "-m hypercorn --bind 127.0.0.1:PORT --graceful-timeout 1 chat.app:chat.asgi",
}
"""ASGI servers that the local server does not run, and how they are run."""


@contextmanager
def _other_server(folder: Path, name: str) -> Iterator[Door]:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    paths = os.pathsep.join((str(folder / "functions"), str(ROOT / "layers/winterbourne/python")))
    limits = dict.fromkeys(("LIMIT_REQUESTS_PER_MINUTE", "LIMIT_TOKENS_PER_DAY", "LIMIT_DOLLARS_PER_DAY"), "0")
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": paths, "STORE": f"file:{folder}/store.sqlite3", **limits}
    command = [sys.executable, *OTHER_SERVERS[name].replace("PORT", str(port)).split()]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder / "functions", env={**env, **COVERAGE, **SETTINGS}, stdout=output, stderr=output
        )
    try:
        _await_port(process, port, log)
        yield Door(name, f"http://127.0.0.1:{port}", folder, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        finally:
            process.kill()


def _await_port(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    for _ in range(1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(log.read_text())


class _InvokeTransport(httpx.BaseTransport):
    """Asks as documented: boto3 sends an event in payload 2.0, and the response begins after eight NULs."""

    def __init__(self, url: str) -> None:
        session = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
        config = botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=30)
        self._lambda = session.client("lambda", endpoint_url=url, config=config)

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = tuple((name.decode().lower(), value.decode()) for name, value in request.headers.raw)
        target = request.url.raw_path.decode()
        sent = Request(request.method, target, headers, request.read(), "127.0.0.1", 443)
        event = build_event(sent, request_id="r", trace_id="Root=1-a-b", now=datetime.now(UTC))
        return self.invoke(event)

    def invoke(self, event: dict[str, Any]) -> httpx.Response:
        answer = self._lambda.invoke_with_response_stream(FunctionName="local", Payload=json.dumps(event))
        assert answer["ResponseStreamContentType"] == "application/vnd.awslambda.http-integration-response"
        chunks = _Chunks(answer["EventStream"])
        head = chunks.prelude()
        cookies = [("set-cookie", cookie) for cookie in head.get("cookies", ())]
        return httpx.Response(head["statusCode"], headers=[*head["headers"].items(), *cookies], stream=chunks)

    @override
    def close(self) -> None:
        self._lambda.close()


class _Chunks(httpx.SyncByteStream):
    """The payload of an event stream; it is cut off if the function failed."""

    def __init__(self, events: Any) -> None:
        self._events = events
        self._pieces = self._read()
        self._rest = b""

    def prelude(self) -> dict[str, Any]:
        received = b""
        while b"\0" * 8 not in received:
            received += next(self._pieces)
        text, _, self._rest = received.partition(b"\0" * 8)
        return dict(json.loads(text))

    def _read(self) -> Iterator[bytes]:
        for event in self._events:
            if "PayloadChunk" in event:
                yield event["PayloadChunk"]["Payload"]
            elif error := event["InvokeComplete"].get("ErrorCode"):
                raise httpx.RemoteProtocolError(error)

    @override
    def __iter__(self) -> Iterator[bytes]:
        yield self._rest
        yield from self._pieces

    @override
    def close(self) -> None:
        self._events.close()
