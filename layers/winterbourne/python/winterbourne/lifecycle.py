"""Hooks around the life of an execution environment: startup, shutdown, before a snapshot, after a restore.

Hooks take no arguments, may be async, and are returned as they are, so that each function here is a decorator.
"""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

__all__ = ["after_restore", "before_snapshot", "on_shutdown", "on_startup", "on_stream_error", "retire"]

Hook = TypeVar("Hook", bound=Callable[..., Any])
RegisteredHook = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class _SnapshotRegistry(Protocol):
    """What this module uses of `snapshot_restore_py`, which the managed runtimes bring along."""

    def register_before_snapshot(self, func: Hook) -> Hook: ...

    def register_after_restore(self, func: Hook) -> Hook: ...

    def get_before_snapshot(self) -> list[RegisteredHook]: ...

    def get_after_restore(self) -> list[RegisteredHook]: ...


_startup_hooks: list[Callable[[], Any]] = []
_shutdown_hooks: list[Callable[[], Any]] = []
_retire_hooks: list[Callable[[], None]] = []
_stream_error_hooks: list[Callable[[BaseException], bytes | str]] = []


def on_startup(hook: Hook) -> Hook:
    """Run it once before the first invocation, in order of registration; if it raises, that is an init error."""
    _startup_hooks.append(hook)
    return hook


def on_shutdown(hook: Hook) -> Hook:
    """Run it when Lambda shuts the environment down (SIGTERM), last registered first.

    Lambda signals a function only if an extension is registered, and leaves it half a second or less.
    """
    _shutdown_hooks.append(hook)
    return hook


def before_snapshot(hook: Hook) -> Hook:
    """Run it before SnapStart takes its snapshot, last registered first; does nothing without SnapStart."""
    registry = _snapshot_registry()
    return registry.register_before_snapshot(hook) if registry else hook


def after_restore(hook: Hook) -> Hook:
    """Run it after SnapStart restored a snapshot, in order of registration; does nothing without SnapStart."""
    registry = _snapshot_registry()
    return registry.register_after_restore(hook) if registry else hook


def on_stream_error(hook: Hook) -> Hook:
    """Say what goes into the body when a handler fails after its response began.

    The hook gets the error and returns bytes or text, such as an error frame in the function's own format; it is
    written last, ahead of Lambda's error trailers, which most HTTP clients never see. The last hook registered counts.
    """
    _stream_error_hooks[:] = [hook]
    return hook


def retire() -> None:
    """End this environment when the invocations under way are answered; Lambda starts another one for the next.

    For a function that knows it has become unfit: threads that hang, memory that does not come back. The shutdown
    hooks run. An invocation that Lambda hands over in the very moment may fail.
    """
    for hook in _retire_hooks:
        hook()


def is_snap_start() -> bool:
    """Whether this environment will be snapshotted or restored."""
    return os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"


def on_retire(hook: Callable[[], None]) -> None:
    """Have `retire` call this; for the loop that polls."""
    _retire_hooks.append(hook)


async def run_startup() -> None:
    """Run the startup hooks."""
    for hook in _startup_hooks:
        await _run_hook(hook)


async def run_shutdown() -> None:
    """Run every shutdown hook.

    Raises:
        ExceptionGroup: Those that failed; each of the others has run.
    """
    failures = []
    for hook in reversed(_shutdown_hooks):
        try:
            await _run_hook(hook)
        except Exception as error:  # noqa: BLE001 - raised below, after the others had their turn
            failures.append(error)
    if failures:
        raise ExceptionGroup("shutdown hooks failed", failures)


async def run_before_snapshot() -> None:
    """Run the hooks before a snapshot, each once, last registered first."""
    registry: _SnapshotRegistry | None = sys.modules.get("snapshot_restore_py")
    hooks = registry.get_before_snapshot() if registry else []
    while hooks:
        await _run_hook(*hooks.pop())


async def run_after_restore() -> None:
    """Give this copy of the snapshot its own randomness, then run the hooks."""
    _reseed_random()
    registry: _SnapshotRegistry | None = sys.modules.get("snapshot_restore_py")
    for entry in registry.get_after_restore() if registry else []:
        await _run_hook(*entry)


def error_frame(error: BaseException) -> bytes | str:
    """What the function wants in its body for this error; empty without a hook."""
    return _stream_error_hooks[0](error) if _stream_error_hooks else b""


def _snapshot_registry() -> _SnapshotRegistry | None:
    """The one registry that the stock client runs as well, imported only where there can be a snapshot."""
    if not is_snap_start():
        return None
    registry: _SnapshotRegistry = importlib.import_module("snapshot_restore_py")
    return registry


async def _run_hook(hook: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> None:
    result = hook(*args, **(kwargs or {}))
    if hasattr(result, "__await__"):
        await result


def _reseed_random() -> None:
    """Every restored copy would otherwise draw the same numbers. What reads os.urandom is fresh by itself."""
    if random := sys.modules.get("random"):
        random.seed()
    if ssl := sys.modules.get("ssl"):
        ssl.RAND_add(os.urandom(32), 32.0)
