"""The servers that the recorded cases talk to, each started when its first case needs it."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.recorded.provider import Provider, provider
from tests.recorded.servers import Servers


@pytest.fixture(scope="session")
def model() -> Iterator[Provider]:
    """The model's provider of all servers."""
    with provider() as running:
        yield running


@pytest.fixture(scope="session")
def servers(model: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Every server by its name."""
    with contextlib.closing(Servers(tmp_path_factory.mktemp("recorded"), model)) as running:
        yield running
