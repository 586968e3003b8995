"""The chat that other people's clients speak with: the scripted provider at full speed, and one that refuses."""

from collections.abc import Iterator

import pytest

from tests.local_server import local_server
from tests.provider import Provider, provider


@pytest.fixture(scope="session")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a chat with the scripted provider and practice data."""
    folder = tmp_path_factory.mktemp("chat")
    prices = 'MODEL_PRICES={"*":{"input":3,"output":15}}'
    settings = [flag for each in ("SCRIPTED_WORDS_PER_SECOND=0", prices) for flag in ("--env", each)]
    with local_server(folder, "--concurrency", "3", *settings) as server:
        yield server.url


@pytest.fixture(scope="session")
def upstream() -> Iterator[Provider]:
    """The provider behind `refused`."""
    with provider() as known:
        yield known


@pytest.fixture(scope="session")
def refused(tmp_path_factory: pytest.TempPathFactory, upstream: Provider) -> Iterator[str]:
    """The base URL of a chat whose provider is the one that a test scripts."""
    wanted = {
        "MODEL_PROVIDER": "openai",
        "OPENAI_BASE_URL": upstream.url,
        "OPENAI_API_KEY": "unused",
        "MODEL_ID": "any",
    }
    flags = [flag for name, value in wanted.items() for flag in ("--env", f"{name}={value}")]
    with local_server(tmp_path_factory.mktemp("refused"), "--concurrency", "2", *flags) as server:
        yield server.url
