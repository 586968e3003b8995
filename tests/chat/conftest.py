"""Fixtures of every test of the chat: secrets registered by one test are cleared for the next."""

from collections.abc import Iterator

import pytest

from winterbourne.chat.infra import redaction


@pytest.fixture(autouse=True)
def _clear_registered_secrets() -> Iterator[None]:
    """Tests share a process: what one of them registers as a secret is ordinary text for the next."""
    yield
    redaction.clear()
