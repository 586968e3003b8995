"""Lifecycle hooks of the execution environment: startup, shutdown, and SnapStart's snapshot and restore.

The `on_…`, `before_…` and `after_…` functions return the hook unchanged, so they work as decorators. Hooks take no
arguments and may be async; the hooks for stream errors and stalls are synchronous, and are told what happened.
"""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

__all__ = ["after_restore", "before_snapshot", "on_shutdown", "on_stall", "on_startup", "on_stream_error", "retire"]

Hook = TypeVar("Hook", bound=Callable[[], Any])
StallHook = TypeVar("StallHook", bound=Callable[[str, bool], Any])
ErrorHook = TypeVar("ErrorHook", bound=Callable[[BaseException], bytes | str])

_startup_hooks: list[Callable[[], Any]] = []
_shutdown_hooks: list[Callable[[], Any]] = []
_retire_hooks: list[Callable[[], None]] = []
_stream_error_hooks: list[Callable[[BaseException], bytes | str]] = []
_stall_hooks: list[Callable[[str, bool], Any]] = []


class _Startup:
    has_begun: ClassVar = False


def on_startup(hook: Hook) -> Hook:
    """Run a hook once before the first invocation, in order of registration; an exception is an init error.

    Args:
        hook: Takes no arguments and may be async.
    """
    _startup_hooks.append(hook)
    return hook


def on_shutdown(hook: Hook) -> Hook:
    """Run a hook for graceful shutdown, when Lambda sends SIGTERM; the last registered runs first.

    Lambda sends SIGTERM only if an extension is registered, and allows half a second or less.

    Args:
        hook: Takes no arguments and may be async. If it raises, that is logged, and the others still run. One that is
            registered again keeps its place, and runs once: what several need is closed after all of them.
    """
    if hook not in _shutdown_hooks:
        _shutdown_hooks.append(hook)
    return hook


def before_snapshot(hook: Hook) -> Hook:
    """Run a hook before SnapStart takes its snapshot, last registered first; does nothing without SnapStart.

    Close connections there: none survives a snapshot.

    Args:
        hook: Takes no arguments and may be async.
    """
    registry = _snapshot_registry()
    return registry.register_before_snapshot(hook) if registry else hook


def after_restore(hook: Hook) -> Hook:
    """Run a hook after SnapStart restores a snapshot, in order of registration; does nothing without SnapStart.

    Random number generators have been reseeded by then.

    Args:
        hook: Takes no arguments and may be async.
    """
    registry = _snapshot_registry()
    return registry.register_after_restore(hook) if registry else hook


def on_stream_error(hook: ErrorHook) -> ErrorHook:
    """Set the hook that writes the end of the body when a handler fails after its response has started.

    Its frame is written before Lambda's error trailers, which most HTTP clients never see.

    Args:
        hook: Takes the error and returns bytes or text, such as an error frame in the function's own format; it is
            synchronous. Only the last registered hook is used.
    """
    _stream_error_hooks[:] = [hook]
    return hook


def on_stall(hook: StallHook) -> StallHook:
    """Run a hook when the event loop has stood still for a quarter of a second, for a metric of it.

    Args:
        hook: Takes the name of the asyncio task that blocks the loop, and whether the process ends for that: then it is
            called again, and has half a second. It is called in a thread, where neither the loop nor the context of
            the invocation is.
    """
    _stall_hooks.append(hook)
    return hook


def retire() -> None:
    """Shut this environment down gracefully: finish the current invocations, run the shutdown hooks and exit.

    For a function that knows it is no longer healthy, with hung threads or leaked memory. Lambda starts a new
    environment for the next invocation. An invocation that Lambda assigns at that very moment may fail.
    """
    for hook in _retire_hooks:
        hook()


def is_snap_start() -> bool:
    """Whether this environment will be snapshotted or restored."""
    return os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"


def on_retire(hook: Callable[[], None]) -> None:
    """Register a callback for `retire`; the runtime drains its pollers with it."""
    _retire_hooks.append(hook)


def startup_has_begun() -> bool:
    """Whether the startup hooks have been run, or are; not after they have failed, nor after those for shutdown."""
    return _Startup.has_begun


async def run_startup() -> None:
    """Run the startup hooks."""
    _Startup.has_begun = True
    try:
        for hook in _startup_hooks:
            await _run_hook(hook)
    except BaseException:
        _Startup.has_begun = False
        raise


async def run_shutdown() -> None:
    """Run every shutdown hook, even if some fail.

    Raises:
        ExceptionGroup: The exceptions of the hooks that failed.
    """
    failures = []
    for hook in reversed(_shutdown_hooks):
        try:
            await _run_hook(hook)
        except Exception as error:  # noqa: BLE001 - raised below, once every hook has run
            failures.append(error)
    _Startup.has_begun = False
    if failures:
        raise ExceptionGroup("shutdown hooks failed", failures)


async def run_before_snapshot() -> None:
    """Run the `before_snapshot` hooks, each once, last registered first."""
    registry: Any = sys.modules.get("snapshot_restore_py")
    hooks = registry.get_before_snapshot() if registry else []
    while hooks:
        await _run_hook(*hooks.pop())


async def run_after_restore() -> None:
    """Reseed the random number generators, then run the `after_restore` hooks."""
    _reseed_random()
    registry: Any = sys.modules.get("snapshot_restore_py")
    for entry in registry.get_after_restore() if registry else []:
        await _run_hook(*entry)


def error_frame(error: BaseException) -> bytes | str:
    """The stream error hook's frame for this error; empty without a hook."""
    return _stream_error_hooks[0](error) if _stream_error_hooks else b""


def stalled(task_name: str, *, has_ended: bool) -> None:
    """Run the stall hooks."""
    for hook in _stall_hooks:
        hook(task_name, has_ended)


def _snapshot_registry() -> Any:
    """`snapshot_restore_py`, the registry shared with awslambdaric; None if there can be no snapshot.

    The managed runtimes include that package.
    """
    return importlib.import_module("snapshot_restore_py") if is_snap_start() else None


async def _run_hook(hook: Callable[..., Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> None:
    result = hook(*args, **(kwargs or {}))
    if hasattr(result, "__await__"):
        await result


def _reseed_random() -> None:
    """Reseed, or every restored copy would draw the same numbers; whatever reads os.urandom needs no reseeding."""
    if random := sys.modules.get("random"):
        random.seed()
    if ssl := sys.modules.get("ssl"):
        ssl.RAND_add(os.urandom(32), 32.0)
