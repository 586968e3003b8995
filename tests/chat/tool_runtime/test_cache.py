"""Result cache: results live for their TTL, up to a total size; the least recently used is evicted first."""

import subprocess
import sys

from winterbourne.chat.tool_runtime.cache import CacheKey, ResultCache


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


A, B = CacheKey("t", "", b'{"a":1}'), CacheKey("t", "", b'{"b":1}')


def test_a_result_is_served_until_its_ttl_ends() -> None:
    clock = Clock()
    cache = ResultCache(10_000, clock)
    cache.put(A, b"1", ttl_s=10)
    clock.now += 9
    assert cache.get(A) == b"1"
    clock.now += 2
    assert cache.get(A) is None


def test_each_entry_has_its_own_ttl() -> None:
    clock = Clock()
    cache = ResultCache(10_000, clock)
    cache.put(A, b"1", ttl_s=10)
    cache.put(B, b"2", ttl_s=100)
    clock.now += 50
    assert (cache.get(A), cache.get(B)) == (None, b"2")


def test_the_least_recently_used_entry_is_evicted() -> None:
    cache = ResultCache(100, Clock())
    cache.put(A, b"x" * 40, ttl_s=10)
    cache.put(B, b"x" * 40, ttl_s=10)
    cache.get(A)
    cache.put(CacheKey("t", "", b"{}"), b"x" * 40, ttl_s=10)
    assert (cache.get(A), cache.get(B)) == (b"x" * 40, None)


def test_a_result_larger_than_the_cache_is_not_stored() -> None:
    cache = ResultCache(100, Clock())
    cache.put(A, b"x" * 101, ttl_s=10)
    assert cache.get(A) is None


def test_a_ttl_of_zero_stores_nothing() -> None:
    cache = ResultCache(100, Clock())
    cache.put(A, b"1", ttl_s=0)
    assert cache.get(A) is None


def test_the_cache_library_is_imported_only_when_something_is_stored() -> None:
    code = (
        "import sys; from winterbourne.chat.tool_runtime.runner import ToolRunner; ToolRunner([]);"
        " print(sorted({'cachetools', 'tenacity', 'zoneinfo', 'boto3'} & set(sys.modules)))"
    )
    path = [entry for entry in sys.path if entry]
    found = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(path)}, capture_output=True, check=True
    )
    assert found.stdout.strip() == b"[]"
