"""Every option as an argument of `tool` and `remote_tool`; made of `ToolOptions`."""

from collections.abc import Callable, Sequence
from typing import Literal, TypedDict

class OptionArguments(TypedDict, total=False):
    name: str
    timeout_s: float | None
    retries: int
    cache_ttl_s: float | None
    cache_per_caller: bool | None
    batch_window_s: float
    breaker: str
    max_result_bytes: int | None
    concurrency: int | None
    keys: Sequence[str]
    needs: Sequence[str]
    approval: bool | Callable[..., object]
    approval_allows_edits: bool
    once: bool
    eager: bool | None
    isolation: Literal["process"] | None
    memory_mb: int
