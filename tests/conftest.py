"""What holds for all tests."""

import gc
import os
import sys

import hypothesis

# Images of containers often set it. Here it would have every run, and each of its processes, compile all modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long an example takes is the machine's business: no test asserts a time.
hypothesis.settings.register_profile(
    "untimed",
    parent=hypothesis.settings.default,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Keep the tests themselves, and what they have imported, out of every later garbage collection."""
    gc.collect()
    gc.freeze()
