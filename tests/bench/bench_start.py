"""Cold start, from the start of the process to its first `next`, of what is deployed: in CPU, memory and time.

Three functions take turns: a handler without work on the layer alone; the demo (scripted model, AUTH=none, memory); and
the chat as `template.yaml` deploys it with its default parameters: API keys and the signing key from Secrets Manager,
DynamoDB, Bedrock, each a stand-in behind TLS (`tests.bench.models.cloud`). They run on this Python, with the locked
packages in a folder like /opt, compiled ahead by the layer's own build; the stand-ins' root is one more of certifi's.

CPU is what the kernel has counted for the process, all threads, user and system; memory is its peak. Each of these is
the least of the rounds: what else the machine does only adds to it. Then the first request, a question as the page asks
it, with all that is done after its answer, beside the later ones of its process, and apart from it what asyncio alone
needs for a handshake with each host.
"""

import asyncio
import json
import os
import re
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, Final

from tests.bench.figure import CACHE, Figure
from tests.bench.models.cloud import KEY, ROOT_FILE
from tests.bench.models.runtime_api import FakeRuntimeApi, chat_event
from tests.stack import PSEUDO, ROOT, Stack
from winterbourne.local import layer, opt
from winterbourne.local.root_certificates import lay_out

ENGINE: Final = ROOT / "layers" / "winterbourne" / "python" / "winterbourne"
ROUNDS: Final = 9
WARM: Final = 5
SHOWN: Final = 14
TIMEOUT_S: Final = 30
# What no start needs, as deployed. Of botocore Powertools imports the `__init__`, which imports nothing else.
HEAVY: Final = ("boto3", "botocore.session", "certifi", "cryptography", "httpcore", "jwt", "sqlite3")

TRIVIAL: Final = "async def handler(event, stream, context):\n    await stream.write(b'{}')\n"
DEMO: Final = {"AUTH": "none", "MODEL_PROVIDER": "scripted"}


@dataclass(frozen=True)
class Start:
    """One start: seconds of CPU, megabytes, seconds until the first `next`; then CPU and seconds of each request.

    Attributes:
        connections: To each service, opened before the first `next`, and by the first request.
    """

    cpu_s: float
    peak_mb: float
    wall_s: float
    requests: list[tuple[float, float]] = field(default_factory=list)
    connections: list[Counter[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Built:
    """The folders /opt, /var/task and /var/runtime, which has boto3 on Lambda, and a Python that has nothing."""

    opt: Path
    task: Path
    runtime: Path
    python: Path


def figures() -> Iterable[Figure]:
    """Starts in turn, with the bars; then the first request; then the imports."""
    with _cloud() as cloud:
        built = _build(CACHE / "deployed", cloud.root)
        starts: dict[str, list[Start]] = {"layer": [], "demo": [], "deployed": []}
        for _ in range(ROUNDS + 1):
            starts["layer"].append(_start(built, "trivial.handler"))
            starts["demo"].append(_start(built, "chat.app.handler", DEMO))
            starts["deployed"].append(_start(built, "chat.app.handler", cloud.environ, cloud))
        handshake_s = min(asyncio.run(_handshake(cloud)) for _ in range(ROUNDS))
    layer, demo, deployed = (each[1:] for each in starts.values())
    yield _cpu("the layer alone", layer)
    yield _cpu("the demo", demo, layer, "the layer alone", 2.3)
    yield _cpu("as template.yaml deploys it", deployed, demo, "the demo", 1.15)
    ratio = _least(deployed, "peak_mb") / _least(demo, "peak_mb")
    yield Figure(
        name="peak memory at the first next, as template.yaml deploys it",
        ours=f"{_least(deployed, 'peak_mb'):.1f} MB",
        beside=f"the demo {_least(demo, 'peak_mb'):.1f} MB, the layer alone {_least(layer, 'peak_mb'):.1f} MB",
        ratio=ratio,
        bar="≤ 1.2",
        met=ratio <= 1.2,
    )
    yield from _first_request(deployed, handshake_s)
    yield from _imports(built, cloud)


def _least(starts: Iterable[Start], name: str) -> float:
    return min(float(getattr(each, name)) for each in starts)


def _cpu(what: str, ours: list[Start], other: list[Start] | None = None, beside: str = "", bar: float = 0) -> Figure:
    ratio = _least(ours, "cpu_s") / _least(other, "cpu_s") if other else None
    return Figure(
        name=f"CPU of a start to the first next, {what}",
        ours=f"{_least(ours, 'cpu_s') * 1e3:.0f} ms",
        beside=f"after {_least(ours, 'wall_s') * 1e3:.0f} ms"
        + (f"; {beside} {_least(other, 'cpu_s') * 1e3:.0f} ms" if other else ""),
        ratio=ratio,
        bar=f"≤ {bar}" if bar else "",
        met=ratio <= bar if ratio else None,
    )


def _first_request(starts: list[Start], handshake_s: float) -> Iterator[Figure]:
    """Medians, since the usual later request of a process is what its first one is compared with."""
    before, new = starts[-1].connections
    apart_s = len(new) * handshake_s
    pairs = [(start.requests[0][0] - apart_s, _usual(start, 0)) for start in starts]
    first_s, warm_s, ratio = (statistics.median(each) for each in zip(*((a, b, a / b) for a, b in pairs), strict=True))
    yield Figure(
        name="CPU of the first request as deployed, without a handshake for each host",
        ours=f"{first_s * 1e3:.1f} ms",
        beside=f"a warm one {warm_s * 1e3:.1f} ms",
        ratio=ratio,
        bar="≤ 1.3",
        met=ratio <= 1.3,
    )
    yield Figure(
        name="  these handshakes, TCP and TLS",
        ours=f"{apart_s * 1e3:.1f} ms",
        beside=f"{len(new)} of {handshake_s * 1e3:.1f} ms; connections before the first next: {_counts(before)}, "
        f"in the first request: {_counts(new)}",
    )
    first_s, warm_s = (
        statistics.median(each) for each in zip(*((s.requests[0][1], _usual(s, 1)) for s in starts), strict=True)
    )
    yield Figure(name="  time of the first request", ours=f"{first_s * 1e3:.0f} ms", beside=f"{warm_s * 1e3:.0f} ms")


def _usual(start: Start, which: int) -> float:
    """The CPU (0) or the time (1) of a process's later requests."""
    return statistics.median(request[which] for request in start.requests[1:])


def _counts(connections: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(connections.items())) or "none"


# Starting


def _start(
    built: Built,
    handler: str,
    more: Mapping[str, str] | None = None,
    cloud: "_Cloud | None" = None,
    stderr: IO[str] | None = None,
) -> Start:
    """Start a function, ask it as often as is measured if there is a cloud, and end it."""

    async def run() -> Start:
        async with FakeRuntimeApi() as api, asyncio.timeout(TIMEOUT_S):
            _ = cloud and cloud.connections()
            begun = time.perf_counter()
            with _process(built, {**_environ(built, handler, api.address), **(more or {})}, stderr) as process:
                await api.is_idle()
                wall_s = time.perf_counter() - begun
                start = Start(_cpu_s(process.pid), _peak_mb(process.pid), wall_s)
                return await _asked(start, api, process.pid, cloud) if cloud else start

    return asyncio.run(run())


async def _asked(start: Start, api: FakeRuntimeApi, pid: int, cloud: "_Cloud") -> Start:
    connections = [cloud.connections()]
    requests = [await _request(api, pid, 0)]
    connections.append(cloud.connections())
    requests += [await _request(api, pid, number + 1) for number in range(WARM)]
    return replace(start, requests=requests, connections=connections)


@contextmanager
def _process(built: Built, environ: Mapping[str, str], stderr: IO[str] | None) -> Iterator["subprocess.Popen[bytes]"]:
    """As Lambda runs the exec wrapper: with its Python, and the bootstrap that the wrapper leaves out."""
    command = [built.opt / "winterbourne", built.python, built.runtime / "bootstrap.py"]
    process = subprocess.Popen(command, env=environ, cwd=built.task, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _request(api: FakeRuntimeApi, pid: int, number: int) -> tuple[float, float]:
    """CPU and seconds of a question as the page asks it, with what is done after its answer."""
    event = chat_event("Hello there", conversation_id=f"c-{pid}-{number}-{time.time_ns()}", store=True)
    keyed = json.loads(event)
    keyed["headers"]["x-api-key"] = KEY
    cpu_s, begun = _cpu_s(pid), time.perf_counter()
    await api.invoke(json.dumps(keyed).encode())
    wall_s = time.perf_counter() - begun
    await api.is_idle()
    return _cpu_s(pid) - cpu_s, wall_s


def _environ(built: Built, handler: str, api: str) -> dict[str, str]:
    """What Lambda sets for every function."""
    return {
        "PATH": os.environ["PATH"],
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "AWS_LAMBDA_RUNTIME_API": api,
        "AWS_LAMBDA_FUNCTION_NAME": "winterbourne-dev-chat",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_REGION": PSEUDO["AWS::Region"],
        "AWS_DEFAULT_REGION": PSEUDO["AWS::Region"],
        "AWS_ACCESS_KEY_ID": "ASIAMADEUPMADEUPMADE",
        "AWS_SECRET_ACCESS_KEY": "made/up+" * 5,
        "AWS_SESSION_TOKEN": "made/up+session" * 60,
        "LAMBDA_TASK_ROOT": str(built.task),
        "LAMBDA_RUNTIME_DIR": str(built.runtime),
        "_HANDLER": handler,
    }


def _cpu_s(pid: int) -> float:
    """CPU time of another process, ended threads included (clock_getcpuclockid)."""
    return time.clock_gettime((~pid << 3) | 2)


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]  # Linux has it


# Building


def _build(folder: Path, root: Path) -> Built:
    """Write what Lambda would have; packages only if their lock has changed."""
    built = Built(folder / "opt", folder / "task", folder / "runtime", folder / "venv" / "bin" / "python")
    lock = (layer.LOCKS / "chat.txt").read_text()
    packages, stamp = folder / "packages", folder / "packages.txt"
    if not stamp.exists() or stamp.read_text() != sys.version + lock:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        _install(packages, "--require-hashes", "--no-deps", "-r", str(layer.LOCKS / "chat.txt"))
        _install(built.runtime, f"boto3=={version('boto3')}", f"botocore=={version('botocore')}")
        _compile(packages)
        _compile(built.runtime)
        stamp.write_text(sys.version + lock)
    for made in (built.opt, built.task):
        shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(packages, built.opt / "python")
    with (built.opt / "python" / "certifi" / "cacert.pem").open("a") as bundle:
        bundle.write(root.read_text())
    unused = shutil.ignore_patterns("__pycache__", "*.pyi", "local")
    shutil.copytree(ENGINE, built.opt / "python" / "winterbourne", ignore=unused)
    lay_out(built.opt / "python" / "certifi" / "cacert.pem", built.opt / "python" / layer.ROOTS)
    opt.copy_wrapper(built.opt)
    shutil.copytree(ROOT / "functions" / "chat", built.task / "chat", ignore=unused)
    (built.task / "trivial.py").write_text(TRIVIAL)
    _compile(built.opt / "python" / "winterbourne")
    _compile(built.task)
    return built


def _install(folder: Path, *what: str) -> None:
    command: list[str | Path] = [
        Path(sys.executable).with_name("uv"),
        "pip",
        "install",
        "--quiet",
        "--python",
        sys.executable,
    ]
    subprocess.run([*command, "--target", folder, "--link-mode", "copy", *what], check=True)


def _compile(folder: Path) -> None:
    flags = ["-q", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([sys.executable, "-m", "compileall", *flags, folder], check=True)


# The stand-ins


@dataclass(frozen=True)
class _Cloud:
    """The stand-ins' process: the variables of the function that asks them, and their root certificate."""

    process: subprocess.Popen[str]
    environ: dict[str, str]
    root: Path

    def connections(self) -> Counter[str]:
        """How many each has taken since the last time."""
        return Counter(_ask(self.process))


@contextmanager
def _cloud() -> Iterator[_Cloud]:
    folder = CACHE / "cloud"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.bench.models.cloud", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            said = _read(process)
            yield _Cloud(process, _deployed(said["resources"]) | said["environ"], folder / ROOT_FILE)
        finally:
            process.kill()


def _deployed(resources: Mapping[str, str]) -> dict[str, str]:
    """The function's variables in template.yaml, with its default parameters."""
    variables = Stack().properties("ChatFunction")["Environment"]["Variables"]
    pattern = "|".join(map(re.escape, resources))
    return {name: re.sub(pattern, lambda found: resources[found[0]], value) for name, value in variables.items()}


def _ask(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()
    return _read(process)


def _read(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


async def _handshake(cloud: _Cloud) -> float:
    """CPU of one connection with TLS, by asyncio alone."""
    context = ssl.create_default_context(cafile=cloud.root)
    port = int(cloud.environ["BEDROCK_BASE_URL"].rpartition(":")[2])
    begun = time.process_time()
    _, writer = await asyncio.open_connection("localhost", port, ssl=context)
    taken = time.process_time() - begun
    writer.transport.abort()
    return taken


# Imports


def _imports(built: Built, cloud: _Cloud) -> Iterator[Figure]:
    """The packages whose own modules take longest to import as deployed, each with its modules added up."""
    runs = [_own_ms(built, cloud) for _ in range(ROUNDS)]
    heavy = [name for name in HEAVY if name in runs[-1]]
    yield Figure(
        name="heavy modules imported though the default path does not use them",
        ours=", ".join(heavy) or "none",
        bar="none",
        met=not heavy,
    )
    shares: Counter[str] = Counter()
    for name in runs[-1]:
        shares[name.partition(".")[0]] += min(run.get(name, 0) for run in runs)  # type: ignore[assignment]  # not only whole
    for package, own_ms in shares.most_common(SHOWN):
        yield Figure(name=f"  import {package}", ours=f"{own_ms:.1f} ms")


def _own_ms(built: Built, cloud: _Cloud) -> dict[str, float]:
    """Milliseconds of each module that is imported before the first `next`, without those that it imports."""
    with tempfile.TemporaryFile("w+") as errors:
        more = cloud.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
        _start(built, "chat.app.handler", more, stderr=errors)
        errors.seek(0)
        timed = re.findall(r"^import time:\s*(\d+) \|\s*\d+ \|\s*(\S+)", errors.read(), re.MULTILINE)
    return {name: int(own_us) / 1000 for own_us, name in timed}
