"""The provider and the servers of the recorded cases, each server started when its first case needs it."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.recorded.provider import Provider, provider
from tests.recorded.servers import Servers


@pytest.fixture(scope="session")
def model_provider() -> Iterator[Provider]:
    """The provider of all servers."""
    with provider() as running:
        yield running


@pytest.fixture(scope="session")
def servers(model_provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Every server by its name."""
    with contextlib.closing(Servers(tmp_path_factory.mktemp("recorded"), model_provider)) as running:
        yield running
