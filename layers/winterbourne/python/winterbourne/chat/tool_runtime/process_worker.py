"""The main module of a worker process, which runs the calls of one tool with `isolation="process"`; see `processes`.

A message is the length of its JSON in four bytes, and the JSON. There is one call at a time; its replies are progress
and one result or failure. The kernel ends the process when its parent is gone, even in C code that holds the
interpreter's lock: that closes standard input, which sends SIGIO. Imports neither asyncio nor httpx.
"""

import faulthandler
import fcntl
import functools
import importlib
import inspect
import os
import resource
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeVar

import msgspec

from winterbourne.chat.errors import InvalidToolDeclaration, ToolError, ToolUnavailable
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.exception_text import format_exception
from winterbourne.chat.infra.secret_values import find_secrets
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.keys import ToolKeys
from winterbourne.chat.tool_runtime.progress import PROGRESS_INTERVAL_S
from winterbourne.chat.tool_runtime.results import encode

if TYPE_CHECKING:
    import asyncio

__all__ = ["ProcessCall", "Reply", "main", "read", "write"]

T = TypeVar("T")

MAX_FAILURE_CHARS: Final = 1900
"""Of a traceback, its end: more than this is not logged of an exception's text."""


class ProcessCall(msgspec.Struct, frozen=True):
    """One call of the tool.

    Attributes:
        arguments: As JSON.
        remaining_s: How long it may take.
        max_result_bytes: A longer result is cut.
        values: The settings and keys that the tool declares; nothing else in a call is secret.
        secret_names: Which of them are keys.
        context: What else its ToolContext is made of.
    """

    arguments: msgspec.Raw
    remaining_s: float
    max_result_bytes: int
    values: dict[str, str]
    secret_names: list[str]
    context: dict[str, Any]


class Reply(msgspec.Struct, frozen=True):
    """What the process says: progress or a result as JSON, or why a call failed, in words.

    A first result says that it is ready. The words of `refused` and `unavailable`, a ToolError and a ToolUnavailable,
    are for the model, those of `failed` for the log.
    """

    kind: Literal["progress", "result", "refused", "unavailable", "failed"]
    json: msgspec.Raw = msgspec.Raw(b"null")
    text: str = ""


def write(file: BinaryIO, message: msgspec.Struct) -> None:
    """Send a message.

    Raises:
        OSError: The other side is gone.
    """
    encoded = msgspec.json.encode(message)
    file.write(len(encoded).to_bytes(4) + encoded)
    file.flush()


def read(file: BinaryIO, type_: type[T]) -> T | None:
    """The next message; None if the other side is gone.

    Raises:
        OSError: It is gone, and has left messages unread.
    """
    length = int.from_bytes(file.read(4))
    message = file.read(length)
    return msgspec.json.decode(message, type=type_) if length and len(message) == length else None


def main() -> None:
    """Run the calls that come in, until there are no more.

    The arguments of the process are a file descriptor, the tool's module, its name, and its megabytes of memory.
    """
    descriptor, module, name, memory_mb = sys.argv[1:]
    _guard(int(memory_mb) * 1024 * 1024)
    calls, replies = os.fdopen(int(descriptor), "rb"), os.fdopen(os.dup(int(descriptor)), "wb")
    try:
        tool = _find_tool(module, name)
    except BaseException as error:  # noqa: BLE001 - a module may raise anything when it is imported, even SystemExit
        write(replies, _failure(error))
        return
    write(replies, Reply("result"))
    while call := read(calls, ProcessCall):
        write(replies, _run(tool, call, replies))


def _guard(memory_bytes: int) -> None:
    """Bound the memory, end with the parent, and leave a stack instead of a core dump."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group; the parent may still need this call
        signal.signal(number, signal.SIG_IGN)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)


def _find_tool(module: str, name: str) -> Tool:
    for value in vars(importlib.import_module(module)).values():
        if isinstance(value, Tool) and value.name == name:
            return value
    raise InvalidToolDeclaration(f"Tool {name} has isolation, and must be a name in {module} for that.")


def _run(tool: Tool, call: ProcessCall, replies: BinaryIO) -> Reply:
    """Run the tool: a reply, whatever it does."""
    for name in call.secret_names:
        redaction.register(*find_secrets(call.values[name], by_name=False))
    progress, deadline = _Progress(replies), time.monotonic() + call.remaining_s
    keys = ToolKeys(call.values, call.secret_names)
    own: dict[str, Any] = {
        "deadline": deadline,
        "patience": deadline,
        "wait": lambda coroutine: _runner().run(coroutine),
    }
    try:
        context = ToolContext(**call.context, **own, keys=keys, report=progress.report, tool=tool.name)
        result = tool.call(tool.validate_arguments(bytes(call.arguments).decode()), context)
        result = _runner().run(result) if inspect.iscoroutine(result) else result
        return Reply("result", msgspec.Raw(encode(result, call.max_result_bytes)))
    except BaseException as error:  # noqa: BLE001 - SystemExit too: it fails this call, and the process stays
        return _failure(error)
    finally:
        progress.close()


@functools.cache
def _runner() -> "asyncio.Runner":
    import asyncio  # noqa: PLC0415 - only tools that need it pay for it

    return asyncio.Runner()


def _failure(error: BaseException) -> Reply:
    if isinstance(error, ToolError):
        return Reply("unavailable" if isinstance(error, ToolUnavailable) else "refused", text=str(error))
    return Reply("failed", text=format_exception(error)[-MAX_FAILURE_CHARS:])


class _Progress:
    """Sends the progress of one call, the latest once in PROGRESS_INTERVAL_S: what nobody reads fills no pipe."""

    def __init__(self, replies: BinaryIO) -> None:
        self._replies = replies
        self._lock = threading.RLock()
        self._latest = b""
        self._timer: threading.Timer | None = None

    async def report(self, data: bytes) -> None:
        with self._lock:
            self._latest = data
            if self._timer is None:
                self._send()

    def _send(self) -> None:
        with self._lock:
            data, self._latest, self._timer = self._latest, b"", None
            if data:
                write(self._replies, Reply("progress", msgspec.Raw(data)))
                self._timer = threading.Timer(PROGRESS_INTERVAL_S, self._send)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Send nothing more."""
        with self._lock:
            self._latest = b""
