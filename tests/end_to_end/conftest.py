"""The chat function behind the local function URL, as a user starts it."""

from collections.abc import Iterator

import pytest

from tests.local_server import local_server


@pytest.fixture(scope="session")
def function_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of the chat function with the scripted model at full speed and practice data."""
    folder = tmp_path_factory.mktemp("function-url")
    with local_server(folder, "--env", "SCRIPTED_WORDS_PER_SECOND=0", "--concurrency", "2") as server:
        yield server.url
