"""What holds for all tests of the function."""

from collections.abc import Iterator

import pytest

from winterbourne.chat.infra import redaction


@pytest.fixture(autouse=True)
def _no_secret_is_left() -> Iterator[None]:
    """Tests share a process, and what one of them makes a secret is ordinary text for the next."""
    yield
    redaction.clear()
