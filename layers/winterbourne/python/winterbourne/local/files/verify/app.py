"""What `winterbourne verify` deploys: a chat with a scripted model, and beside it probes, which misbehave on purpose.

A probe, `/verify/NAME`, is open to whoever sends the value of VERIFY_TOKEN as `x-verify-token`; without that variable
there are none. What goes wrong within a chat are tools, which the scripted model calls when they are named.
"""

import asyncio
import hmac
import json
import os
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

import msgspec

from winterbourne import LambdaContext, Response, ResponseStream, streamify_response
from winterbourne.chat import Chat, ToolContext, tool
from winterbourne.chat.errors import AwsCallFailed
from winterbourne.chat.infra import aws_calls
from winterbourne.http_event import read_http_event
from winterbourne.invocation import find_front_end

Query: TypeAlias = Mapping[str, str]
Probe: TypeAlias = Callable[[Query, ResponseStream, LambdaContext], Awaitable[None]]

BLOCK: Final = b"." * (1 << 16)
FOREIGN: Final = (("dynamodb", "ListTables"), ("secretsmanager", "ListSecrets"), ("ssm", "DescribeParameters"))
"""What the role of a chat has no right to."""
MEMORY_SHARE: Final = 0.94


@cache
def environment() -> str:
    """The name of this execution environment, which it gives itself in its first request: a snapshot has none yet."""
    return secrets.token_hex(8)


@tool
async def reach(context: ToolContext) -> dict[str, object]:
    """Ask a server over the HTTP pool."""
    started = time.monotonic()
    url = os.environ.get("VERIFY_UPSTREAM") or aws_calls.public_endpoint("dynamodb", os.environ["AWS_REGION"])
    status = (await context.http.get(url)).status_code
    return {"environment": environment(), "status": status, "ms": round((time.monotonic() - started) * 1000)}


@tool(timeout_s=0.1, breaker="")
async def dawdle() -> None:
    """Take longer than this tool may."""
    await asyncio.sleep(30)


@tool
def fill() -> int:
    """Use nearly all memory, for as long as the call takes."""
    limit = int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) << 20
    with open("/proc/self/statm", encoding="ascii") as statm:
        used = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return len(b"." * max(0, int(limit * MEMORY_SHARE) - used))


async def words(query: Query, stream: ResponseStream, _: LambdaContext) -> None:
    """Write lines at a pace, each by itself: the seconds since the first one, or `text`."""
    started = time.monotonic()
    for number in range(int(query["count"])):
        if number:
            await asyncio.sleep(int(query.get("pause_ms", 0)) / 1000)
        await stream.write((query.get("text") or f"{time.monotonic() - started:.4f}") + "\n")


async def many_bytes(query: Query, stream: ResponseStream, _: LambdaContext) -> None:
    """Write as many bytes as are asked for, as fast as they are taken."""
    for _number in range(int(query["size"]) // len(BLOCK)):
        await stream.write(BLOCK)


async def empty(query: Query, stream: ResponseStream, _: LambdaContext) -> None:
    """Respond with a status, and write a body for those that have one."""
    await stream.start(Response(int(query["status"])))
    await stream.write("nobody reads this where there is no body")


async def fail(_query: Query, stream: ResponseStream, _: LambdaContext) -> None:
    """Raise after the first byte."""
    await stream.write("begun\n")
    raise RuntimeError("it fails after its first byte, as it was asked to")


async def hang(query: Query, stream: ResponseStream, _: LambdaContext) -> None:
    """Stop the whole process, so that nothing but Lambda's timeout ends it; with `begin` after the first byte."""
    if query.get("begin"):
        await stream.write("begun\n")
        await asyncio.sleep(0.2)
    os.kill(os.getpid(), signal.SIGSTOP)


async def crash(*_: object) -> None:
    """End the process."""
    os._exit(1)


async def tell_environment(query: Query, stream: ResponseStream, context: LambdaContext) -> None:
    """Say which environment this is, after having kept it for `hold_ms`."""
    await asyncio.sleep(int(query.get("hold_ms", 0)) / 1000)
    await stream.write(json.dumps({"environment": environment(), "request_id": context.aws_request_id}))


async def role(_query: Query, stream: ResponseStream, _: LambdaContext) -> None:
    """Ask AWS for what the role has no right to; the answers are AWS's codes, or `allowed`."""
    await stream.write(json.dumps({f"{service}:{name}": await _try(service, name) for service, name in FOREIGN}))


async def _try(service: str, operation: str) -> str:
    try:
        await aws_calls.call(service, operation, {}, msgspec.Raw)
    except AwsCallFailed as error:
        return error.reason
    return "allowed"


PROBES: Final[dict[str, Probe]] = {
    "words": words,
    "bytes": many_bytes,
    "empty": empty,
    "fail": fail,
    "hang": hang,
    "crash": crash,
    "environment": tell_environment,
    "role": role,
}

chat = Chat(
    tools=(reach, dawdle, fill),
    title="Verification",
    model_provider="scripted",
    tool_answer_reserve=1.0,  # Timeout is short
    limit_requests_per_minute=10_000,  # so that the store is asked, as by a chat with limits
)


async def serve(event: Any, stream: ResponseStream, context: LambdaContext) -> Any:
    """A probe, or else the chat."""
    front_end, token = find_front_end(event), os.environ.get("VERIFY_TOKEN", "")
    if token and front_end:
        request = read_http_event(event, front_end)
        probe = PROBES.get(request.raw_path.removeprefix("/verify/"))
        sent = dict(request.headers).get("x-verify-token", "")
        if probe and hmac.compare_digest(sent.encode(), token.encode()):
            return await probe(dict(parse_qsl(request.raw_query)), stream, context)
    return await chat.handler.serve(event, stream, context)


handler = streamify_response(serve)
