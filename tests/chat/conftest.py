"""Fixtures of the chat's tests: secrets registered by one test are cleared for the next, and hooks of one's own."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.chat.secrets_known import forget_secrets
from winterbourne import lifecycle
from winterbourne.chat.http import asgi
from winterbourne.chat.infra import http_pool


@pytest.fixture(autouse=True)
def _clear_registered_secrets() -> Iterator[None]:
    """Tests share a process: what one of them registers as a secret is ordinary text for the next."""
    yield
    forget_secrets()


@pytest.fixture
async def own_hooks(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Hooks that only this test sees, and that end with it: a store's file is closed."""
    monkeypatch.setattr(lifecycle, "_startup_hooks", [])
    monkeypatch.setattr(lifecycle, "_shutdown_hooks", [])
    monkeypatch.setattr(asgi, "_process", asgi._Process())
    monkeypatch.setattr(lifecycle._Startup, "has_begun", False)
    yield
    await lifecycle.run_shutdown()
    await http_pool.close()
