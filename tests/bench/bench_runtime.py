"""The runtime compared with the stock client, and with a web server in the function.

Every measured process talks to the same Runtime API in this process, which answers from prepared bytes so that its own
share stays small. CPU is what the measured process itself counts.
"""

import asyncio
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
import timeit
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.bench.figure import Figure, least, on_first_core, to_last_core
from tests.runtime.runtime_api import RuntimeApi
from winterbourne.connection import RuntimeClient, _Connection
from winterbourne.handlers import _stream_items
from winterbourne.override import override
from winterbourne.protocol import CHUNK, RuntimeApiProtocol, State
from winterbourne.stream import ResponseStream

LAYER = Path(__file__).parents[2] / "layers" / "winterbourne" / "python"
OURS = ["-m", "winterbourne"]
STOCK = ["-m", "awslambdaric"]
# From Python 3.12 on, and so in the template's runtime, the stock client polls each `next` in a new thread.
LATER = "3.14"
# The two requests of an invocation over asyncio, and nothing else: nothing is parsed, and no handler runs.
BARE = textwrap.dedent("""
    import asyncio, os
    address = os.environ["AWS_LAMBDA_RUNTIME_API"]
    head = "/2018-06-01/runtime/invocation/%s HTTP/1.1\\r\\nhost: " + address + "\\r\\n"
    following = ("GET " + head % "next" + "\\r\\n").encode()
    answer = ("POST " + head % "1/response" + "content-length: 12\\r\\n\\r\\n").encode() + b'{"ok": true}'
    class Bare(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            transport.write(following)
        def data_received(self, data):
            self.transport.write(following if data.startswith(b"HTTP/1.1 202") else answer)
    async def main():
        await asyncio.get_running_loop().create_connection(Bare, *address.split(":"))
        await asyncio.Event().wait()
    asyncio.run(main())
""")
BATCH, BATCHES = 5, 401
CHUNKS = 20_000
STREAMS = 64
ROUNDS = 7

APP = textwrap.dedent("""
    import asyncio, time
    CHUNK = b'data: {"type":"content","delta":"word"}' + bytes([10, 10])
    def plain(event, context):
        return {"ok": True}
    async def coroutine(event, context):
        return {"ok": True}
    async def streaming(event, context):
        yield b'{"ok": true}'
    async def chunks(report):
        begun = time.process_time()
        for _ in range(%d):
            yield CHUNK
        open(report, "w").write(str(time.process_time() - begun))
    async def many(event, context):
        return chunks(event["report"])
    async def held(event, context):
        yield b"x" * 1000
        await asyncio.sleep(3600)
    def served():
        from starlette.applications import Starlette
        from starlette.responses import StreamingResponse
        from starlette.routing import Route
        async def endpoint(request):
            return StreamingResponse(chunks(request.query_params["report"]))
        return Starlette(routes=[Route("/", endpoint)])
    def api():
        from fastapi import FastAPI
        app = FastAPI()
        @app.get("/")
        def root():
            return {"ok": True}
        return app
""")


def figures() -> Iterable[Figure]:
    """All of them, one after the other: they would disturb each other on a small machine."""
    with on_first_core(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "app.py").write_text(APP % CHUNKS)
        yield from _invocations(folder)
        yield asyncio.run(_bare_invocation(folder))
        yield _http_per_invocation()
        yield _cpu_per_chunk(folder)
        yield asyncio.run(_cpu_without_socket())
        yield asyncio.run(_cpu_per_write())
        yield from _starts(folder)
        yield _memory(folder)


def _invocations(folder: Path) -> Iterator[Figure]:
    for what, version in (("coroutine", LATER), ("streaming", LATER), ("plain", LATER), ("streaming", "3.11")):
        ours, stock, ratio = least(asyncio.run(_alternating(what, version, folder)))
        yield Figure(
            name=f"one invocation, {what} handler",
            ours=f"{ours * 1e6:.0f} µs",
            beside=f"awslambdaric as on python{version} {stock * 1e6:.0f} µs (plain handler)",
            ratio=ratio,
            bar="≤ 1.3",
            met=ratio <= 1.3,
        )


async def _bare_invocation(folder: Path) -> Figure:
    """What asyncio and its sockets take of an invocation, before any HTTP or handler."""
    async with _runtime(["-c", BARE], "", folder) as bare:
        least_s = min([await bare.batch(BATCH) / BATCH for _ in range(BATCHES)])
    return Figure(name="  of that, asyncio alone, with prepared requests", ours=f"{least_s * 1e6:.0f} µs")


def _http_per_invocation() -> Figure:
    """What h11 takes of an invocation: two requests and their replies."""
    protocol, event = RuntimeApiProtocol("127.0.0.1:9001"), _PreparedApi(b"{}").next_reply

    def invocation() -> None:
        protocol.request_next()
        protocol.receive_data(event)
        protocol.send_response(b'{"ok": true}', "application/json")
        protocol.receive_data(ACCEPTED)

    least_s = min(timeit.repeat(invocation, number=BATCH, repeat=BATCHES)) / BATCH
    return Figure(name="  of that, HTTP by h11, without a socket", ours=f"{least_s * 1e6:.0f} µs")


async def _alternating(handler: str, version: str, folder: Path) -> list[tuple[float, float]]:
    """Seconds per invocation, ours and theirs, in alternating batches; both processes stay."""
    async with (
        _runtime(OURS, handler, folder, version=version) as ours,
        _runtime(STOCK, "plain", folder, version=version) as stock,
    ):
        return [(await ours.batch(BATCH) / BATCH, await stock.batch(BATCH) / BATCH) for _ in range(BATCHES)][1:]


def _cpu_per_chunk(folder: Path) -> Figure:
    pairs = [(_our_chunks(folder), _uvicorn_chunks(folder)) for _ in range(ROUNDS)]
    ours, other, ratio = least(pairs)
    return Figure(
        name=f"CPU per chunk, {CHUNKS} chunks",
        ours=f"{ours / CHUNKS * 1e6:.1f} µs",
        beside=f"uvicorn + Starlette {other / CHUNKS * 1e6:.1f} µs",
        ratio=ratio,
        bar="≤ 0.5",
        met=ratio <= 0.5,
    )


async def _cpu_without_socket() -> Figure:
    """The same way of a chunk, to a socket that takes all and does nothing: the rest is the kernel's `send`."""
    data = b'data: {"type":"content","delta":"word"}\n\n'

    async def chunks() -> AsyncGenerator[bytes]:
        for _ in range(CHUNKS):
            yield data

    async def stream_seconds() -> float:
        begun = time.process_time()
        await _stream_items(chunks(), stream)
        return time.process_time() - begun

    with _swallowed() as near:
        client = RuntimeClient("x:1")
        connection = client._connection = _Connection(near, client._protocol, lambda *_: None)
        connection._send = len  # type: ignore[assignment]
        client._protocol.state = State.HANDLING
        stream = ResponseStream(client)
        await stream.start()
        least_s = min([await stream_seconds() for _ in range(ROUNDS)])
        connection.abort()
    return Figure(name="  of that, without the call of send", ours=f"{least_s / CHUNKS * 1e6:.1f} µs")


async def _cpu_per_write() -> Figure:
    """A socket of our own has its price, which the watchdog is worth: its thread can write to it."""
    loop = asyncio.get_running_loop()
    with _swallowed() as near, _swallowed() as other:
        connection = _Connection(near, RuntimeApiProtocol("x"), lambda *_: None)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=other)
        pairs = [(await _cpu(connection.write), await _cpu(transport.write)) for _ in range(10 * ROUNDS)][1:]
        connection.abort()
        transport.abort()
    ours, theirs, ratio = _medians(pairs)
    return Figure(
        name="CPU per write to the socket",
        ours=f"{ours * 1e6:.1f} µs",
        beside=f"asyncio's transport {theirs * 1e6:.1f} µs",
        ratio=ratio,
        bar="≤ 1.2",
        met=ratio <= 1.2,
    )


async def _cpu(write: Callable[[bytes], object]) -> float:
    """Seconds of CPU per chunk, in bursts as small as a model's."""
    data, bursts, burst = b'data: {"type":"content","delta":"word"}\n\n', 100, 5
    begun = time.process_time()
    for _ in range(bursts):
        for _ in range(burst):
            write(CHUNK % (len(data), data))
        await asyncio.sleep(0)
    return (time.process_time() - begun) / (bursts * burst)


@contextmanager
def _swallowed() -> Iterator[socket.socket]:
    """A socket whose other end another process reads."""
    near, far = socket.socketpair()
    near.settimeout(0)
    with near, far, subprocess.Popen(["cat"], stdin=far.fileno(), stdout=subprocess.DEVNULL) as reader:
        to_last_core(reader.pid)
        yield near
        reader.kill()


def _starts(folder: Path) -> Iterator[Figure]:
    ours, stock, ratio = _medians([(_start(OURS, folder), _start(STOCK, folder)) for _ in range(2 * ROUNDS)])
    yield Figure(
        name="process start to the first next",
        ours=f"{ours * 1e3:.0f} ms",
        beside=f"awslambdaric {stock * 1e3:.0f} ms",
        ratio=ratio,
        bar="≤ 2",
        met=ratio <= 2,
    )
    ours, served, ratio = _medians([(_start(OURS, folder), _uvicorn_start(folder)) for _ in range(ROUNDS)])
    yield Figure(
        name="process start to the first next",
        ours=f"{ours * 1e3:.0f} ms",
        beside=f"FastAPI + uvicorn to the first accept {served * 1e3:.0f} ms",
        ratio=ratio,
        bar="≤ 1/3",
        met=ratio <= 1 / 3,
    )
    for name, share_ms in _imports():
        yield Figure(name=f"  of that, import {name}", ours=f"{share_ms:.1f} ms")


def _memory(folder: Path) -> Figure:
    one, many = asyncio.run(_resident(folder))
    ratio = many / one
    return Figure(
        name=f"RSS with {STREAMS} streams",
        ours=f"{many / 2**20:.1f} MiB",
        beside=f"with one {one / 2**20:.1f} MiB",
        ratio=ratio,
        bar="≤ 1.5",
        met=ratio <= 1.5,
    )


ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'


class _PreparedApi(asyncio.Protocol):
    """A Runtime API for one process, which answers each request with prepared bytes."""

    def __init__(self, event: bytes) -> None:
        deadline = int(time.time() * 1000) + 600_000
        head = (
            f"HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n"
            f"Lambda-Runtime-Deadline-Ms: {deadline}\r\n"
            f"Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700\r\n"
            f"Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:test\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(event)}\r\n\r\n"
        )
        self.next_reply = head.encode() + event
        self._left, self._data = 0, b""
        self._asked = asyncio.Event()

    async def first_next(self) -> float:
        """When the process first asked for an invocation."""
        await self._asked.wait()
        return time.perf_counter()

    async def batch(self, count: int) -> float:
        """Seconds that this many invocations take, one after the other."""
        await self._asked.wait()
        self._asked.clear()
        self._left = count - 1
        begun = time.perf_counter()
        self._transport.write(self.next_reply)
        await self._asked.wait()
        return time.perf_counter() - begun

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        self._data = data if len(self._data) > 1 << 16 else self._data + data
        if self._data.startswith(b"GET"):
            self._data = b""
            self._hand_out()
        elif self._posted():
            self._data = b""
            self._transport.write(ACCEPTED)

    def _hand_out(self) -> None:
        if self._left:
            self._left -= 1
            self._transport.write(self.next_reply)
        else:
            self._asked.set()

    def _posted(self) -> bool:
        head, _, body = self._data.partition(b"\r\n\r\n")
        if length := re.search(rb"(?i)content-length: (\d+)", head):
            return len(body) >= int(length[1])
        return self._data.endswith(b"0\r\n\r\n")


@asynccontextmanager
async def _runtime(
    command: list[str], handler: str, folder: Path, *, event: bytes = b"{}", version: str = LATER
) -> AsyncIterator[_PreparedApi]:
    """A runtime with this handler, and the Runtime API it asks."""
    api = _PreparedApi(event)
    server = await asyncio.get_running_loop().create_server(lambda: api, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with _process([*command, f"app.{handler}"], folder, address, version):
        yield api
    server.close()


@contextmanager
def _process(
    command: list[str], folder: Path, api: str, version: str = LATER, **environ: str
) -> Iterator[subprocess.Popen[bytes]]:
    environ = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "AWS_LAMBDA_RUNTIME_API": api,
        "PYTHONPATH": f"{folder}:{LAYER}",
        "LAMBDA_TASK_ROOT": str(folder),
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}",
    } | environ
    process = subprocess.Popen([sys.executable, *command], cwd=folder, env=environ)
    to_last_core(process.pid)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _start(command: list[str], folder: Path) -> float:
    async def measure() -> float:
        begun = time.perf_counter()
        async with _runtime(command, "plain", folder) as api:
            return await api.first_next() - begun

    return asyncio.run(measure())


def _our_chunks(folder: Path) -> float:
    report = folder / "ours.txt"

    async def serve() -> None:
        async with _runtime(OURS, "many", folder, event=f'{{"report": "{report}"}}'.encode()) as api:
            await api.batch(1)

    asyncio.run(serve())
    return float(report.read_text())


def _uvicorn_chunks(folder: Path) -> float:
    report = folder / "theirs.txt"

    async def fetch(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /?report={report} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        while await reader.read(1 << 16):
            pass
        writer.close()

    with _uvicorn("served", folder) as port:
        _until_accepting(port)
        asyncio.run(fetch(port))
    return float(report.read_text())


def _uvicorn_start(folder: Path) -> float:
    begun = time.perf_counter()
    with _uvicorn("api", folder) as port:
        _until_accepting(port)
        return time.perf_counter() - begun


@contextmanager
def _uvicorn(factory: str, folder: Path) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = ["-m", "uvicorn", "--factory", f"app:{factory}", "--port", str(port), "--log-level", "warning"]
    with _process(command, folder, ""):
        yield port


def _until_accepting(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.001)
        else:
            return


def _imports() -> Iterator[tuple[str, float]]:
    """Milliseconds of the heaviest imports, each without what it imports itself, summed by top-level package."""
    runs = [_import_shares() for _ in range(ROUNDS)]
    shares = {name: statistics.median(run.get(name, 0.0) for run in runs) for name in runs[-1]}
    yield from sorted(shares.items(), key=lambda share: -share[1])[:12]


def _import_shares() -> dict[str, float]:
    command = [sys.executable, "-X", "importtime", "-c", "import winterbourne.runtime"]
    environ = {**os.environ, "PYTHONPATH": str(LAYER)}
    timed = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stderr
    shares: dict[str, float] = {}
    for line in timed.splitlines()[1:]:
        own_us, _, name = line.removeprefix("import time:").split("|")
        package = name.strip().partition(".")[0]
        shares[package] = shares.get(package, 0) + int(own_us) / 1000
    return shares


async def _resident(folder: Path) -> tuple[int, int]:
    """Bytes resident with one stream open, and with all of them."""
    async with RuntimeApi() as api:
        with _process([*OURS, "app.held"], folder, api.address, AWS_LAMBDA_MAX_CONCURRENCY=str(STREAMS)) as process:
            first = api.submit({})
            await first.arrived.wait()
            one = _rss(process.pid)
            others = [api.submit({}) for _ in range(STREAMS - 1)]
            for each in others:
                await each.arrived.wait()
            return one, _rss(process.pid)


def _rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def _medians(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    ours, other = zip(*pairs, strict=True)
    return statistics.median(ours), statistics.median(other), statistics.median(a / b for a, b in pairs)
