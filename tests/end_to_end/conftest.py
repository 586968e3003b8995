"""The chat function behind the local function URL, as a user starts it; a scripted provider; and a browser."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import requirements
from tests.browser_page import FLAGS, KEY, Visits
from tests.end_to_end.asking_chat import AskingChat, asking_chat
from tests.local_server import local_server
from tests.provider import Provider, provider


@pytest.fixture(scope="session")
def function_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of the chat function with the scripted provider at full speed and practice data."""
    folder = tmp_path_factory.mktemp("function-url")
    limits = ("--env", "MAX_BODY_BYTES=1048576")
    with local_server(folder, "--env", "SCRIPTED_WORDS_PER_SECOND=0", *limits, "--concurrency", "2") as server:
        yield server.url


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The scripted provider at a readable pace, with practice data for its tools."""
    folder = tmp_path_factory.mktemp("chat")
    # No result is cached, so that tools take as long in every test as in the first.
    prices = 'MODEL_PRICES={"*":{"input":3,"output":15}}'
    settings = (
        "SCRIPTED_WORDS_PER_SECOND=200",
        "TOOL_CACHE_BYTES=1",
        "MCP_ENDPOINT=on",
        "MAX_BODY_BYTES=1048576",
        prices,
    )
    flags = [flag for setting in settings for flag in ("--env", setting)]
    with local_server(folder, "--concurrency", "3", *flags) as server:
        yield server.url


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AskingChat]:
    """A chat whose tools ask a person first."""
    with asking_chat(tmp_path_factory.mktemp("asking")) as chat:
        yield chat


@pytest.fixture(scope="session")
def model_provider() -> Iterator[Provider]:
    """The provider behind `guarded`."""
    with provider() as known:
        yield known


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory, model_provider: Provider) -> Iterator[str]:
    """A chat that requires a key, with a provider that the test scripts."""
    wanted = {
        "AUTH": "api_key",
        "API_KEYS": json.dumps({"tests": KEY}),
        "MODEL_PROVIDER": "openai",
        "OPENAI_BASE_URL": model_provider.url,
        "OPENAI_API_KEY": "unused",
        "MODEL_ID": "any",
    }
    flags = [flag for name, value in wanted.items() for flag in ("--env", f"{name}={value}")]
    with local_server(tmp_path_factory.mktemp("guarded"), "--concurrency", "3", *flags) as server:
        yield server.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One per module, not per session: while it runs, its event loop prevents asynchronous tests from running."""
    path = requirements.chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def visits(browser: Browser) -> Iterator[Visits]:
    """Visits that must end without console errors and without requests to other hosts."""
    visits = Visits(browser)
    yield visits
    visits.close()
    assert visits.console_errors == []
    assert visits.foreign_requests == []
