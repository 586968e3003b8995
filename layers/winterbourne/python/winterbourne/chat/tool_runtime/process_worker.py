"""The main module of a worker process, which runs the calls of one tool with `isolation="process"`; see `processes`.

A message is the length of its JSON in four bytes, and the JSON. There is one call at a time; its replies are progress
and one result or failure. The kernel ends the process when its parent is gone, even in C code that holds the
interpreter's lock: that closes a pipe, which sends SIGIO. Imports neither asyncio nor httpx.
"""

import contextvars
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
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeVar

import msgspec

from winterbourne.chat.errors import InvalidToolDeclaration, ToolError, ToolUnavailable
from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.exception_text import format_exception
from winterbourne.chat.infra.secret_values import find_secrets
from winterbourne.chat.infra.tracing import outgoing_headers
from winterbourne.chat.tool_runtime.context import ToolContext
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.keys import ToolKeys
from winterbourne.chat.tool_runtime.progress import PROGRESS_INTERVAL_S
from winterbourne.chat.tool_runtime.results import encode, outcome_for_exception

if TYPE_CHECKING:
    import asyncio

__all__ = ["ProcessCall", "Reply", "find_tool", "main", "read", "write"]

T = TypeVar("T")

_ONE_AT_A_TIME: Final = threading.RLock()

MAX_FAILURE_CHARS: Final = 1900
"""Of a traceback, its end: more than this is not logged of an exception's text."""


class ProcessCall(msgspec.Struct, frozen=True):
    """One call of the tool.

    Attributes:
        arguments: As JSON.
        max_result_bytes: A longer result is cut.
        values: The settings and keys that the tool declares; nothing else in a call is secret.
        secret_names: Which of them are keys.
        context: What else its ToolContext is made of.
        remaining_s: How long it may take, from when it is sent.
        trace: The trace headers of its requests.
    """

    arguments: msgspec.Raw
    max_result_bytes: int
    values: dict[str, str]
    secret_names: list[str]
    context: dict[str, Any]
    remaining_s: float = 0.0
    trace: dict[str, str] = {}


class Reply(msgspec.Struct, frozen=True):
    """What the process says: progress or a result as JSON, or why a call failed, in words.

    A first result says that it is ready. The words of `refused`, `unavailable` and `full`, a ToolError and two
    ToolUnavailables, are for the model, those of `failed` for the log. A process that is full has no memory left.
    """

    kind: Literal["progress", "result", "refused", "unavailable", "full", "failed"]
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
    channel, module, name, memory_mb = int(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4])
    _guard(channel, memory_mb * 1024 * 1024)
    calls, replies = os.fdopen(channel, "rb"), os.fdopen(channel, "wb", closefd=False)
    try:
        tool = find_tool(module, name)
    except BaseException as error:  # noqa: BLE001 - a module may raise anything when it is imported, even SystemExit
        write(replies, _failure(name, error))
        return
    write(replies, Reply("result"))
    while call := read(calls, ProcessCall):
        write(replies, _run(tool, call, replies))


def _guard(channel: int, memory_bytes: int) -> None:
    """Bound the memory, end with the parent, hide both from children, and leave a stack instead of a core dump."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    for number in _GROUP_SIGNALS:
        signal.signal(number, lambda *_: None)
    parent, nothing = os.dup(0), os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)  # a tool or its child that reads standard input finds its end
    fcntl.fcntl(parent, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(parent, fcntl.F_SETFL, fcntl.fcntl(parent, fcntl.F_GETFL) | os.O_ASYNC)
    fcntl.fcntl(channel, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    os.register_at_fork(after_in_child=lambda: _detach(channel, nothing))


_GROUP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""They are sent to the whole group; the parent may still need this call."""


def _detach(channel: int, nothing: int) -> None:
    """Make a process that the tool has forked a common one: it gives no reply, even if it returns, and can be ended."""
    os.dup2(nothing, channel)
    for number in _GROUP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def find_tool(module: str, name: str) -> Tool:
    """The tool of this name in a module.

    Raises:
        InvalidToolDeclaration: It has none, or it is the main module, which another process does not have.
        BaseException: What the module raises when it is imported.
    """
    for value in vars(importlib.import_module(module)).values() if module not in {"", "__main__"} else ():
        if isinstance(value, Tool) and value.name == name:
            return value
    raise InvalidToolDeclaration(f"Tool {name} has isolation: it must be a name in the module of its function.")


def _run(tool: Tool, call: ProcessCall, replies: BinaryIO) -> Reply:
    """Run the tool: a reply, whatever it does."""
    for name in call.secret_names:
        redaction.register(*find_secrets(call.values[name], by_name=False))
    progress, deadline = _Progress(replies), time.monotonic() + call.remaining_s
    own: dict[str, Any] = {"deadline": deadline, "patience": deadline, "wait": _wait}
    keys = ToolKeys(call.values, call.secret_names)
    outgoing_headers.set(call.trace)
    try:
        context = ToolContext(**call.context, **own, keys=keys, report=progress.report, tool=tool.name)
        result = tool.call(tool.validate_arguments(bytes(call.arguments).decode()), context)
        if inspect.iscoroutine(result):
            context._loop, context._wait = _runner().get_loop(), None  # noqa: SLF001 - as in the chat
            result = _runner().run(result, context=contextvars.copy_context())
        return Reply("result", msgspec.Raw(encode(result, call.max_result_bytes)))
    except BaseException as error:  # noqa: BLE001 - SystemExit too: it fails this call, and the process stays
        return _failure(tool.name, error)
    finally:
        progress.close()


def _wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await from any thread of a synchronous tool."""
    with _ONE_AT_A_TIME:
        return _runner().run(coroutine)


@functools.cache
def _runner() -> "asyncio.Runner":
    import asyncio  # noqa: PLC0415 - only tools that need it pay for it

    return asyncio.Runner()


def _failure(name: str, error: BaseException) -> Reply:
    if isinstance(error, MemoryError):
        sys.excepthook(type(error), error, error.__traceback__)  # the parent logs it
        return Reply("full", text=f"{name} needs more memory than it may have.")
    if isinstance(error, ToolError):
        kind: Any = "unavailable" if isinstance(error, ToolUnavailable) else "refused"
        return Reply(kind, text=outcome_for_exception(name, error).error)
    text = format_exception(error)[-MAX_FAILURE_CHARS:]
    return Reply("failed", text=text.encode(errors="replace").decode())


class _Progress:
    """Sends the progress of one call, the latest once in PROGRESS_INTERVAL_S: what nobody reads fills no pipe."""

    def __init__(self, replies: BinaryIO) -> None:
        self._replies = replies
        self._lock = threading.RLock()
        self._latest = b""
        self._timer: threading.Timer | None = None
        self._is_closed = False

    async def report(self, data: bytes) -> None:
        with self._lock:
            self._latest = data
            if self._timer is None:
                self._send()

    def _send(self) -> None:
        with self._lock:
            data, self._latest, self._timer = self._latest, b"", None
            if data and not self._is_closed:
                write(self._replies, Reply("progress", msgspec.Raw(data)))
                self._timer = threading.Timer(PROGRESS_INTERVAL_S, self._send)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Send nothing more, whatever threads of the tool go on: it would be taken for the next call's."""
        with self._lock:
            self._is_closed = True
