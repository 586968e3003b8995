"""The chat function behind the local function URL, as a user starts it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local_server import local_server


@pytest.fixture(scope="session")
def function_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of the chat function with the scripted model at full speed and practice data."""
    folder = tmp_path_factory.mktemp("function-url")
    with local_server(folder, "--env", "SCRIPTED_WORDS_PER_SECOND=0", "--concurrency", "2") as server:
        yield server.url


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
