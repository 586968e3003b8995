"""A chat behind the local URL, to play incidents on: what it asks for fails as the real ones do, and its log is read.

Nobody waits for an incident's minutes: what is asked in each is asked at once, and the log lines that come out are
counted in that minute. Lambda's own metrics are made of what the local server tells of invocations and processes, in
the words of Lambda's log.
"""

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx

from tests.cloudwatch import Metrics, Rules, episodes, matches
from tests.local_server import LocalServer, local_server
from tests.stack import PSEUDO, Stack
from winterbourne.override import override

__all__ = ["BEGIN", "Deployment", "Incident", "alarms_of", "deployment", "outside", "rang"]

BEGIN: Final = 1_800_000_000
"""When each incident begins, in seconds since 1970."""

TIMEOUT_S: Final = 120
"""How long after the beginning of an invocation Lambda may count its error: the template's Timeout."""

LOOKED_AT: Final = 25
"""Minutes after the last event of an incident in which its alarms must have rung."""

FAILED: Final = re.compile(
    r"Environment \d+ ended: (?!.*exit status 0$)|FAILED RequestId: \S+ (?!Runtime.ExitError|Sandbox)"
)
"""What Lambda counts as an error: a process that ended, not by retiring, or an invocation that the process reported."""

RULES: Final = (Rules(extra=0, fills_empty=False), Rules(extra=4, fills_empty=True))
"""Both ends of what CloudWatch's documentation leaves open."""

FUNCTION: Final = '''
"""A chat whose tools fail in every way."""
import asyncio, ctypes, os, signal, time
from winterbourne.chat import Chat, ToolContext, ToolWorker, get_json, tool

URL, KEPT = os.environ["OUTSIDE"], []

@tool(breaker="host")
async def ask_host(path: str, context: ToolContext) -> object:
    """Ask a service."""
    return await get_json(context, "service", URL + path, dict)

@tool(timeout_s=0.1)
async def hang() -> str:
    """Never end."""
    await asyncio.sleep(60)
    return ""

@tool(timeout_s=0.1)
def hang_in_thread() -> str:
    """Outlive its timeout in a thread."""
    time.sleep(2)
    return ""

@tool
async def be_slow() -> str:
    """Take a while."""
    await asyncio.sleep(0.7)
    return "done"

@tool
async def be_quick() -> str:
    """Take no time."""
    return "done"

@tool
async def block() -> str:
    """Block the event loop."""
    time.sleep(60)
    return ""

@tool
async def hold_the_lock() -> str:
    """Hold the interpreter's lock."""
    ctypes.PyDLL(None).sleep(60)
    return ""

@tool
async def die(status: int) -> str:
    """Run out of memory, or leave."""
    os._exit(status) if status else os.kill(os.getpid(), signal.SIGKILL)
    return ""

@tool
async def fill() -> str:
    """Take memory."""
    KEPT.append(b"x" * 200 * 2**20)
    return "full"

TOOLS = [ask_host, hang, hang_in_thread, be_slow, be_quick, block, hold_the_lock, die, fill]
handler = Chat(tools=TOOLS).handler
'''

WORKER: Final = FUNCTION.replace("handler = Chat", "handler = ToolWorker")
"""The same tools in a tool worker."""

MODEL_ERRORS: Final[Mapping[str, tuple[int, dict[str, str], dict[str, str]]]] = {
    "overloaded": (
        503,
        {"retry-after": "600"},
        {"message": "The engine is currently overloaded, please try again later", "type": "server_error"},
    ),
    "throttled": (
        429,
        {"retry-after": "600"},
        {"message": "Rate limit reached for requests", "type": "requests", "code": "rate_limit_exceeded"},
    ),
    "unpaid": (
        429,
        {},
        {
            "message": "You exceeded your current quota, please check your plan and billing details.",
            "type": "insufficient_quota",
            "code": "insufficient_quota",
        },
    ),
    "key refused": (
        401,
        {},
        {"message": "Incorrect API key provided.", "type": "invalid_request_error", "code": "invalid_api_key"},
    ),
    "unknown model": (
        404,
        {},
        {"message": "The model `m` does not exist", "type": "invalid_request_error", "code": "model_not_found"},
    ),
    "too long": (
        400,
        {},
        {
            "message": "This model's maximum context length is 128000 tokens. Please shorten the messages.",
            "type": "invalid_request_error",
            "code": "context_length_exceeded",
        },
    ),
    "flagged": (
        400,
        {},
        {
            "message": "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            "type": "invalid_request_error",
            "code": "invalid_prompt",
        },
    ),
    "odd option": (
        400,
        {},
        {
            "message": "Unsupported value: 'reasoning_effort' does not support 'low' with this model.",
            "type": "invalid_request_error",
            "code": "unsupported_value",
        },
    ),
}
"""As OpenAI refuses: https://platform.openai.com/docs/guides/error-codes"""

AWS_ERRORS: Final[Mapping[str, tuple[str, str]]] = {
    "secretsmanager": ("AccessDeniedException", "Access to KMS is not allowed"),
    "DynamoDB_20120810": (
        "ThrottlingException",
        "Throughput exceeds the current capacity of your table or index.",
    ),
}
"""As the services refuse (AWS JSON, with status 400), by the prefix of their operations.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html and
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
"""

KEY: Final = {"x-api-key": "key-of-the-first-caller"}
KEYS: Final = {"SecretString": '{"first": "key-of-the-first-caller"}'}


class _Outside(BaseHTTPRequestHandler):
    """All that the function asks: the model, a tool's service, and AWS."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if target := self.headers["x-amz-target"]:
            self._answer_as_aws(target)
        else:
            self._answer_as_model(body["messages"])

    def do_GET(self) -> None:
        """A tool's service, slow or down, and the list of the model's provider, who is well."""
        if self.path.endswith("/slow"):
            time.sleep(0.15)
        self._send(503 if self.path.endswith("/down") else 200, {"data": []})

    def _answer_as_aws(self, target: str) -> None:
        if self.path == "/well/":
            self._send(200, KEYS)
            return
        code, message = AWS_ERRORS[target.partition(".")[0]]
        self._send(400, {"__type": code, "message": message})

    def _answer_as_model(self, messages: list[dict[str, Any]]) -> None:
        """As the last message of the user says; once tools have answered, it is content."""
        (last, *_) = [n for n, message in reversed(list(enumerate(messages))) if message["role"] == "user"]
        wish, has_results = str(messages[last]["content"]), messages[-1]["role"] == "tool"
        if wish in MODEL_ERRORS:
            status, headers, error = MODEL_ERRORS[wish]
            self._send(status, {"error": {"param": None, "code": None, **error}}, headers)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for piece in [_text("Fine."), *_END] if has_results else _stream(wish):
                self.wfile.write(piece)
                self.wfile.flush()

    def _send(self, status: int, body: Any, headers: Mapping[str, str] = {}) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    @override
    def log_message(self, *_: object) -> None:
        pass


def _frame(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", **more}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: %b\n\n" % json.dumps(chunk | {"choices": choices}).encode()


def _text(text: str) -> bytes:
    return _frame({"content": text})


_DONE: Final = b"data: [DONE]\n\n"
_END: Final = (_frame({}, "stop"), _DONE)


def _stream(wish: str) -> Iterator[bytes]:
    """A model's answer, or what is left of it: `call TOOL ARGUMENTS`, with `5 times` or without, `cost TOKENS`, …"""
    if wish == "slow":
        time.sleep(0.7)
    if wish == "silent":
        time.sleep(8)
    if called := re.fullmatch(r"call (\w+) (\{.*\})(?: (\d+) times)?", wish):
        function = {"name": called[1], "arguments": called[2]}
        calls = range(int(called[3] or 1))
        yield _frame(
            {"tool_calls": [{"index": n, "id": f"k{n}", "type": "function", "function": function} for n in calls]}
        )
        yield from (_frame({}, "tool_calls"), _DONE)
        return
    yield _text("Fi")
    if wish == "cut":
        return
    yield b"data: {garbled\n\n" if wish == "garbled" else _text("ne.")
    yield _END[0]
    if wish.startswith("cost "):
        usage = {"prompt_tokens": int(wish[5:]), "completion_tokens": 1, "total_tokens": int(wish[5:]) + 1}
        yield b"data: %b\n\n" % json.dumps({"id": "c", "choices": [], "usage": usage}).encode()
    yield _DONE


@contextlib.contextmanager
def outside() -> Iterator[str]:
    """Serve all that a function asks; gives the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Outside) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Incident:
    """What happens, and who must hear of it.

    Attributes:
        alarms: The names of the alarms that ring, without the stack's: these and no others.
        events: What is asked in which minute: a message of a chat, `GET /path`, `invoke PAYLOAD`; or what is done.
    """

    alarms: set[str]
    events: Mapping[int, Sequence["str | Callable[[Deployment], None]"]]


@dataclass
class Deployment:
    """A function behind the local URL, and what has been counted of it."""

    server: LocalServer
    client: httpx.Client
    folder: Path
    stack: Stack
    function: str = "ChatFunction"
    metrics: Metrics = field(default_factory=Metrics)
    _read: int = 0

    def play(self, incident: Incident) -> set[str]:
        """Let it happen; returns which alarms rang, and asserts that what is left open changes nothing."""
        self.metrics = Metrics()
        for minute, events in incident.events.items():
            self.at(minute, events)
        return rang(self.stack, self.metrics, max(incident.events))

    def at(self, minute: int, events: Sequence["str | Callable[[Deployment], None]"]) -> None:
        """Let these happen in this minute, all at once."""
        with ThreadPoolExecutor(max(1, len(events))) as pool:
            list(pool.map(self._happens, events))
        self._count(BEGIN + minute * 60 + 30)

    def write(self, source: str) -> None:
        """Deploy another source."""
        (self.folder / "app.py").write_text(source)

    def _happens(self, event: "str | Callable[[Deployment], None]") -> None:
        if callable(event):
            event(self)
            return
        if event.startswith("GET "):
            self.client.get(event[4:])
            return
        if event.startswith("invoke "):
            self.client.post(self.server.invoke_url + "/2015-03-31/functions/local/invocations", content=event[7:])
            return
        body = {"messages": [{"role": "user", "content": event.removeprefix("stranger: ")}]}
        headers = {} if event.startswith("stranger: ") else KEY
        with contextlib.suppress(httpx.RemoteProtocolError):  # the function died
            self.client.post("/chat", json=body, headers=headers)

    def _new_lines(self) -> list[str]:
        with self.server.log.open("rb") as log:
            log.seek(self._read)
            return log.read().decode().splitlines(keepends=True)

    def _count(self, at_s: int) -> None:
        """Count what the log says of this minute, once every invocation has ended."""
        while (lines := self._new_lines()) and _count_of("START ", lines) > _count_of("END ", lines):
            time.sleep(0.01)
        self._read += sum(len(line.encode()) for line in lines)
        self.metrics.add_documents([json.loads(line) for line in lines if '"_aws"' in line], at_s)
        function = {"FunctionName": f"<{self.function}>"}
        for name, words in {"Invocations": "START ", "Throttles": "A request is waiting"}.items():
            self.metrics.add("AWS/Lambda", name, function, at_s, _count_of(words, lines))
        failed = sum(map(bool, map(FAILED.match, lines)))
        self.metrics.add("AWS/Lambda", "Errors", function, at_s, failed, seen_s=at_s + TIMEOUT_S)
        (filtered,) = self.stack.of_type("AWS::Logs::MetricFilter").values()
        (made,) = filtered["MetricTransformations"]
        for line in lines:
            if report := re.match(r"INIT_REPORT .*\tStatus: (\w+)", line):
                event = {"type": "platform.initReport", "record": {"phase": "init", "status": report[1]}}
                if matches(filtered["FilterPattern"], event):
                    self.metrics.add(made["MetricNamespace"], made["MetricName"], {}, at_s, float(made["MetricValue"]))


def _count_of(words: str, lines: Sequence[str]) -> int:
    return sum(line.startswith(words) for line in lines)


@contextlib.contextmanager
def deployment(
    folder: Path, stack: Stack, *flags: str, name: str = "ChatFunction", **settings: str
) -> Iterator[Deployment]:
    """Deploy the function with some of the stack's variables and these settings, and all that it asks for."""
    code = folder / "function"
    code.mkdir()
    (code / "app.py").write_text(FUNCTION if name == "ChatFunction" else WORKER)
    variables = stack.properties(name)["Environment"]["Variables"]
    with outside() as url:
        given = {
            **{variable: variables[variable] for variable in ("SERVICE_NAME", "METRICS")},
            "AUTH": "none",
            "STORE": "memory",
            "MODEL_PROVIDER": "openai",
            "MODEL_ID": "m",
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": f"{url}/v1",
            "OUTSIDE": url,
            "TOOL_ANSWER_RESERVE": "0.5",
            "HTTP_RETRIES": "0",
            "AWS_REGION": PSEUDO["AWS::Region"],
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "y",
            **{setting: value.replace("OUTSIDE", url) for setting, value in settings.items()},
        }
        environment = [flag for variable, value in given.items() for flag in ("--env", f"{variable}={value}")]
        function = ("--task-root", str(code), "--handler", "app.handler")
        with (
            local_server(folder, *function, *environment, *flags) as server,
            httpx.Client(base_url=server.url, timeout=30) as client,
        ):
            yield Deployment(server, client, code, stack, name)


def alarms_of(stack: Stack) -> dict[str, Any]:
    """The alarms of a stack by their names, without the stack's."""
    prefix = f"{PSEUDO['AWS::StackName']}-"
    return {a["AlarmName"].removeprefix(prefix): a for a in stack.of_type("AWS::CloudWatch::Alarm").values()}


def rang(stack: Stack, metrics: Metrics, last_minute: int) -> set[str]:
    """Which alarms ring until a while after an incident's last minute, whatever the documentation leaves open."""
    end = BEGIN + (last_minute + LOOKED_AT) * 60
    first, *others = (set(episodes(alarms_of(stack), metrics, BEGIN, end, rules)) for rules in RULES)
    assert all(names == first for names in others)
    return first
