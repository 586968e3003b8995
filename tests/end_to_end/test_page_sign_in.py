"""Signing in on the page, with an OpenID Connect issuer by another hand, in a real Chromium; and where that cannot be."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, cast

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import npm
from tests.browser_page import Visits, ask, has_ended, keep_picture
from tests.local_server import local_server

pytestmark = [pytest.mark.slow, pytest.mark.clients]

CLIENT = "the page"
API = "https://chat.example"


@contextmanager
def signed_in_chat(folder: Path, audience: str, *settings: str) -> Iterator[tuple[str, str]]:
    """The URLs of a chat and of the issuer that signs its readers in."""
    script = npm.clients() / "issuer.mjs"
    command = ["node", npm.clients() / "issuer.mjs"]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL) as issuer:
        told, says = cast("IO[bytes]", issuer.stdin), cast("IO[bytes]", issuer.stdout)
        url = says.readline().decode().strip()
        jwt = (f"JWT_ISSUER={url}", f"JWT_JWKS_URL={url}/jwks", f"JWT_AUDIENCE={audience}", f"JWT_CLIENT_ID={CLIENT}")
        wanted = ("SCRIPTED_WORDS_PER_SECOND=0", "AUTH=jwt", *jwt, *settings)
        flags = [flag for setting in wanted for flag in ("--env", setting)]
        with local_server(folder, "--concurrency", "2", *flags) as server:
            client = {"page": f"{server.url}/", "client": CLIENT, "audience": "" if audience == CLIENT else audience}
            told.write(f"{json.dumps(client)}\n".encode())
            told.flush()
            yield server.url, url
        issuer.terminate()


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A chat that knows its readers by their ID tokens, as with Cognito."""
    with signed_in_chat(tmp_path_factory.mktemp("sign-in"), CLIENT) as urls:
        yield urls


@pytest.fixture
def visits(browser: Browser) -> Iterator[Visits]:
    """As elsewhere, but that they go to the issuer too."""
    visits = Visits(browser)
    yield visits
    visits.close()
    assert visits.console_errors == []


def sign_in(page: Page, name: str = "ada") -> None:
    """What a person does on the issuer's pages."""
    page.get_by_placeholder("Enter any login").fill(name)
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def test_a_reader_signs_in_and_asks(visits: Visits, urls: tuple[str, str]) -> None:
    chat, issuer = urls
    page = visits.open(chat)
    keep_picture(page, "signed-out")
    page.get_by_role("button", name="Sign in").click()
    sign_in(page)
    expect(page).to_have_url(f"{chat}/")
    expect(page.get_by_role("button", name="Sign in")).to_be_hidden()
    has_ended(ask(page, "Count to 3"))
