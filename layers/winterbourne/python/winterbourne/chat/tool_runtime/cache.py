"""Result cache for identical calls: in memory, limited by TTL and size, for the life of the environment.

Identical calls in flight share one run (single-flight).
"""

import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from winterbourne.chat.infra import redaction
from winterbourne.chat.infra.telemetry import measure
from winterbourne.chat.tool_runtime.call import ActiveCall, RunSlot, ToolRun
from winterbourne.chat.tool_runtime.declaration import Tool
from winterbourne.chat.tool_runtime.results import Outcome

__all__ = ["CacheKey", "CachedTool", "ResultCache"]


class CacheKey(msgspec.Struct, frozen=True):
    """What makes two calls identical. `caller_id` is empty if all callers share the results."""

    tool: str
    caller_id: str
    arguments: bytes


class _CacheEntry(msgspec.Struct, frozen=True):
    result: bytes
    expires_at: float
    size: int


class ResultCache:
    """JSON results by key; expired ones are evicted first, then the least recently used (LRU).

    Args:
        max_bytes: Limit of all keys and results together.
        clock: Wall clock, seconds; the monotonic clock may stop while the environment is frozen.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.time) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[CacheKey, _CacheEntry] = OrderedDict()  # the least recently used one first
        self.size_bytes = 0

    def get(self, key: CacheKey) -> bytes | None:
        """The cached result, or None if there is none that is still fresh."""
        entry = self._entries.get(key)
        if entry is None or entry.expires_at <= self._clock():
            return None
        self._entries.move_to_end(key)
        return entry.result

    def put(self, key: CacheKey, result: bytes, ttl_s: float) -> None:
        """Cache a result for `ttl_s` seconds, unless it alone is larger than the cache."""
        size, now = len(result) + len(key.tool) + len(key.caller_id) + len(key.arguments), self._clock()
        if not ttl_s or size > self._max_bytes:
            return
        self._evict(key)
        if self.size_bytes + size > self._max_bytes:
            for expired in [key for key, entry in self._entries.items() if entry.expires_at <= now]:
                self._evict(expired)
        while self.size_bytes + size > self._max_bytes:
            self._evict(next(iter(self._entries)))
        self._entries[key] = _CacheEntry(result, now + ttl_s, size)
        self.size_bytes += size

    def _evict(self, key: CacheKey) -> None:
        if entry := self._entries.pop(key, None):
            self.size_bytes -= entry.size


class CachedTool(msgspec.Struct, frozen=True):
    """The cached results of one tool, and its runs in flight.

    Attributes:
        tool: Has a `cache_ttl_s`.
        results: The results of all tools.
        in_flight: The runs that identical calls may join.
    """

    tool: Tool
    results: ResultCache
    in_flight: dict[CacheKey, ToolRun] = {}

    def find(self, call: ActiveCall) -> Outcome | None:
        """The cached outcome of an identical call, if it is still fresh."""
        if not call.identity or (result := self.results.get(self.key(call))) is None:
            return None
        measure("CacheHits", tool=self.tool.name)
        # A secret may have been registered since.
        return Outcome("completed", redaction.redact_json(result), cached=True)

    def join(self, call: ActiveCall) -> RunSlot | None:
        """A slot in the run of an identical call."""
        run = self.in_flight.get(self.key(call)) if call.identity else None
        return (run, 0) if run and run.subscribers else None

    def share(self, run: ToolRun) -> None:
        """Let identical calls join a run that was just started, and cache its results once it is done.

        A batch is joined only in its own turn, see `batching`: what it reports may concern its other calls.
        """
        if not self.tool.batch and run.calls[0].identity:
            self.in_flight[self.key(run.calls[0])] = run
        run.task.add_done_callback(lambda _: self._on_done(run))

    def key(self, call: ActiveCall) -> CacheKey:
        """The key that identical calls have."""
        caller_id = "" if self.tool.is_cache_shared else call.turn.caller_id
        return CacheKey(self.tool.name, caller_id, call.identity)

    def _on_done(self, run: ToolRun) -> None:
        if self.in_flight.get(key := self.key(run.calls[0])) is run:
            del self.in_flight[key]
        if run.task.cancelled():
            return
        for call, outcome in zip(run.calls, run.task.result(), strict=True):
            if call.identity and outcome.status == "completed":
                self.results.put(self.key(call), outcome.result, self.tool.options.cache_ttl_s or 0)
