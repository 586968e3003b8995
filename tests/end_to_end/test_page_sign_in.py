"""Signing in on the page, in a real Chromium, with an OpenID Connect issuer by another hand."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, Final, NamedTuple, cast

import jwt
import pytest
from playwright.sync_api import Browser, Page, expect

from tests import npm
from tests.browser_page import Visits, ask, has_ended, keep_picture
from tests.local_server import local_server
from winterbourne.chat.http.endpoints.page_options import PageOptions
from winterbourne.chat.http.endpoints.static_files import StaticFiles

pytestmark = [pytest.mark.slow, pytest.mark.clients]

CLIENT: Final = "the page"
API: Final = "https://chat.example"
TOKENS: Final = "winterbourne.tokens"


class Urls(NamedTuple):
    """The URLs of a chat and of the issuer that signs its readers in."""

    chat: str
    issuer: str


@contextmanager
def signed_in_chat(folder: Path, audience: str, *settings: str) -> Iterator[Urls]:
    """A chat whose readers sign in; with the audience of its own, their access tokens are for it."""
    command = ["node", str(npm.clients() / "issuer.mjs")]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL) as issuer:
        told, says = cast("IO[bytes]", issuer.stdin), cast("IO[bytes]", issuer.stdout)
        url = says.readline().decode().strip()
        issued = (f"JWT_ISSUER={url}", f"JWT_JWKS_URL={url}/jwks", f"JWT_CLIENT_ID={CLIENT}")
        wanted = ("SCRIPTED_WORDS_PER_SECOND=0", "AUTH=jwt", f"JWT_AUDIENCE={audience}", *issued, *settings)
        flags = [flag for setting in wanted for flag in ("--env", setting)]
        with local_server(folder, "--concurrency", "2", *flags) as server:
            client = {"page": f"{server.url}/", "client": CLIENT, "audience": "" if audience == CLIENT else audience}
            told.write(f"{json.dumps(client)}\n".encode())
            told.flush()
            yield Urls(server.url, url)
        issuer.terminate()


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Urls]:
    """A chat that knows its readers by their ID tokens, as with Cognito."""
    with signed_in_chat(tmp_path_factory.mktemp("sign-in"), CLIENT) as urls:
        yield urls


@pytest.fixture
def api_urls(tmp_path: Path) -> Iterator[Urls]:
    """A chat that is an API with a scope, as with Auth0."""
    with signed_in_chat(tmp_path, API, "JWT_SCOPE=chat") as urls:
        yield urls


@pytest.fixture
def visits(browser: Browser) -> Iterator[Visits]:
    """As elsewhere, but that they go to the issuer too."""
    visits = Visits(browser)
    yield visits
    visits.close()
    assert visits.console_errors == []


def signed_in(visits: Visits, urls: Urls) -> Page:
    page = visits.open(urls.chat)
    page.get_by_role("button", name="Sign in").click()
    sign_in(page)
    expect(page).to_have_url(f"{urls.chat}/")
    expect(page.get_by_role("button", name="Sign in")).to_be_hidden()
    return page


def sign_in(page: Page) -> None:
    """What a person does on the issuer's pages."""
    page.get_by_placeholder("Enter any login").fill("ada")
    page.get_by_placeholder("and password").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def change(page: Page, **values: object) -> None:
    """Change what the page keeps of its tokens, and load it again."""
    page.evaluate(
        """([name, values]) => {
          const kept = JSON.parse(sessionStorage.getItem(name));
          sessionStorage.setItem(name, JSON.stringify({ ...kept, ...values }));
        }""",
        [TOKENS, values],
    )
    page.reload()


def is_refused(page: Page, urls: Urls) -> None:
    expect(page).to_have_url(f"{urls.chat}/")
    expect(page.get_by_role("alert")).to_have_text("You have not been signed in. Please try again.")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert page.evaluate(f"JSON.parse(sessionStorage.getItem('{TOKENS}')).access_token") is None


class TestSigningIn:
    def test_a_reader_signs_in_and_the_server_knows_who_asks(self, visits: Visits, urls: Urls) -> None:
        page = signed_in(visits, urls)
        with page.expect_request("**/chat") as sent:
            has_ended(ask(page, "Count to 3"))
        headers = sent.value.headers
        token = headers["authorization"].removeprefix("Bearer ")
        assert jwt.decode(token, options={"verify_signature": False})["aud"] == CLIENT
        assert headers["x-api-key"] == token, "CloudFront replaces the other one"
        page.get_by_role("button", name="Conversations").click()
        expect(page.get_by_role("dialog").get_by_role("link")).to_contain_text("Count to 3")

    def test_what_was_written_and_the_address_are_the_same_afterwards(self, visits: Visits, urls: Urls) -> None:
        page = visits.open(urls.chat)
        page.evaluate("location.hash = 'c_another'")
        expect(page.locator(".answer")).to_contain_text("You are not signed in.")
        page.get_by_role("textbox", name="Your question").fill("A draft")
        page.locator("#files").set_input_files({"name": "notes.md", "mimeType": "", "buffer": b"# Notes"})
        expect(page.get_by_role("list", name="Files")).to_contain_text("notes.md")
        page.locator("header").get_by_role("button", name="Sign in").click()
        sign_in(page)
        expect(page).to_have_url(f"{urls.chat}/#c_another")
        expect(page.locator(".answer")).to_contain_text("There is no such conversation")
        expect(page.get_by_role("textbox", name="Your question")).to_have_value("A draft")
        expect(page.get_by_role("list", name="Files")).to_contain_text("notes.md")

    def test_where_a_browser_cannot_it_is_said(self, visits: Visits, urls: Urls) -> None:
        page = visits.open(urls.chat)
        page.add_init_script("Object.defineProperty(crypto, 'subtle', { value: undefined })")  # as on http
        page.reload()
        page.locator("header").get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("only where this page's address begins with https")

    def test_as_long_as_the_token_is_good_the_issuer_may_be_away(self, visits: Visits, urls: Urls) -> None:
        page = signed_in(visits, urls)
        page.evaluate("""() => {
          const kept = JSON.parse(sessionStorage.getItem("winterbourne.tokens"));
          const soon = { ...kept, refresh_token: "r", expiresAt: Date.now() + 30_000 };
          sessionStorage.setItem("winterbourne.tokens", JSON.stringify(soon));
        }""")
        page.reload()
        page.route("**/token", lambda route: route.abort())
        expect(has_ended(ask(page, "Count to 3"))).to_contain_text("1 2 3")

    def test_whoever_asks_first_is_told_to_sign_in(self, visits: Visits, urls: Urls) -> None:
        page = visits.open(urls.chat)
        answer = has_ended(ask(page, "Hello"), "failed")
        expect(answer).to_contain_text("You are not signed in.")
        expect(answer).not_to_contain_text("For support")
        keep_picture(page, "signed-out")
        answer.get_by_role("button", name="Sign in").click()
        sign_in(page)
        expect(page.get_by_role("textbox", name="Your question")).to_have_value("Hello")

    def test_an_issuer_says_whom_access_tokens_are_for(self, visits: Visits, api_urls: Urls) -> None:
        page = signed_in(visits, api_urls)
        with page.expect_request("**/chat") as sent:
            has_ended(ask(page, "Count to 3"))
        token = sent.value.headers["authorization"].removeprefix("Bearer ")
        claims = jwt.decode(token, options={"verify_signature": False})
        assert (claims["aud"], claims["scope"]) == (API, "chat")

    def test_signing_out_ends_it_here_and_there(self, visits: Visits, urls: Urls) -> None:
        page = signed_in(visits, urls)
        page.get_by_role("button", name="Conversations").click()
        page.get_by_role("button", name="Sign out").click()
        page.get_by_role("button", name="Yes, sign me out").click()
        expect(page).to_have_url(f"{urls.chat}/")
        assert "token" not in page.evaluate("JSON.stringify(sessionStorage)").replace("winterbourne.tokens", "")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_placeholder("Enter any login")).to_be_visible()


class TestNotSigningIn:
    def test_who_declines_is_not_signed_in(self, visits: Visits, urls: Urls) -> None:
        page = visits.open(urls.chat)
        page.get_by_role("button", name="Sign in").click()
        with page.expect_request(f"{urls.chat}/?error=access_denied*") as answered:
            page.get_by_role("link", name="Cancel").click()
        is_refused(page, urls)
        page.goto(answered.value.url.replace("error=access_denied", "code=late"))
        is_refused(page, urls)
        assert f"{urls.issuer}/token" not in visits.requested_urls, "what was begun is good for one answer"

    @pytest.mark.parametrize("part", ["state", "nonce", "verifier"])
    def test_an_answer_to_another_question_is_refused(self, visits: Visits, urls: Urls, part: str) -> None:
        page = visits.open(urls.chat)
        page.add_init_script(f"""
            const kept = JSON.parse(sessionStorage.getItem("{TOKENS}") ?? "{{}}");
            if (location.search && kept.begun) {{
              kept.begun.{part} += "x";
              sessionStorage.setItem("{TOKENS}", JSON.stringify(kept));
            }}""")
        page.get_by_role("button", name="Sign in").click()
        sign_in(page)
        is_refused(page, urls)

    def test_an_answer_that_nobody_asked_for_is_not_looked_at(self, visits: Visits, urls: Urls) -> None:
        page = visits.open(urls.chat)
        page.goto(f"{urls.chat}/?code=stolen&state=undefined")
        is_refused(page, urls)
        assert not [url for url in visits.requested_urls if url.startswith(urls.issuer)]

    def test_an_answer_is_good_once(self, visits: Visits, urls: Urls) -> None:
        page = visits.open(urls.chat)
        with page.expect_request(f"{urls.chat}/?code=*") as answered:
            page.get_by_role("button", name="Sign in").click()
            sign_in(page)
        expect(page.get_by_role("button", name="Sign in")).to_be_hidden()
        tokens = [url for url in visits.requested_urls if url == f"{urls.issuer}/token"]
        page.goto(answered.value.url)
        expect(page).to_have_url(f"{urls.chat}/")
        has_ended(ask(page, "Count to 3"))
        assert [url for url in visits.requested_urls if url == f"{urls.issuer}/token"] == tokens


class TestGoingOn:
    def test_tokens_are_refreshed_before_they_expire(self, visits: Visits, urls: Urls) -> None:
        page = signed_in(visits, urls)
        change(page, expiresAt=0)
        with page.expect_request(f"{urls.issuer}/token") as refreshed, page.expect_response("**/chat") as answered:
            has_ended(ask(page, "Count to 3"))
        assert "grant_type=refresh_token" in str(refreshed.value.post_data)
        assert answered.value.status == 200

    def test_tokens_that_are_refused_are_refreshed(self, visits: Visits, urls: Urls) -> None:
        page = signed_in(visits, urls)
        change(page, access_token="x", id_token="x")
        with page.expect_request(f"{urls.issuer}/token"):
            has_ended(ask(page, "Count to 3"))
        has_ended(ask(page, "Count to 4"))

    def test_when_they_cannot_be_the_reader_signs_in_again(self, visits: Visits, urls: Urls) -> None:
        page = signed_in(visits, urls)
        change(page, refresh_token="expired", expiresAt=0)
        expect(has_ended(ask(page, "Hello"), "failed")).to_contain_text("You are not signed in.")
        expect(page.locator("header").get_by_role("button", name="Sign in")).to_be_visible()

    def test_who_is_not_let_in_may_sign_in_as_somebody_else(self, visits: Visits, urls: Urls) -> None:
        page = signed_in(visits, urls)
        refusal = {"error": {"code": "forbidden", "message": "the scope chat is required"}}
        page.route("**/chat", lambda route: route.fulfill(status=403, json=refusal))
        answer = has_ended(ask(page, "Hello"), "failed")
        expect(answer.get_by_role("button", name="Try again")).to_have_count(0)
        answer.get_by_role("button", name="Sign in").click()
        expect(page.get_by_placeholder("Enter any login")).to_be_visible()

    def test_an_issuer_that_is_away_signs_nobody_out(self, visits: Visits, urls: Urls) -> None:
        page = signed_in(visits, urls)
        change(page, expiresAt=0)
        page.route(f"{urls.issuer}/token", lambda route: route.fulfill(status=503))
        answer = has_ended(ask(page, "Count to 3"), "failed")
        expect(answer).to_contain_text("cannot be reached")
        page.unroute(f"{urls.issuer}/token")
        answer.get_by_role("button", name="Try again").click()
        has_ended(page.locator(".answer"))


@pytest.mark.parametrize(
    ("config", "status", "said"),
    [
        ({"auth": "iam"}, 403, "this page cannot tell it who you are"),
        ({"auth": "jwt"}, 401, "this page cannot tell it who you are"),
        ({"auth": "jwt", "signIn": None}, 401, "You cannot sign in at the moment."),
    ],
)
def test_a_page_that_cannot_sign_in_says_so(
    visits: Visits, chat: str, config: dict[str, None], status: int, said: str
) -> None:
    page = visits.open(chat)
    told = page.evaluate("JSON.parse(document.getElementById('config').textContent)")
    file = StaticFiles(PageOptions(), lambda: {**told, **config}).find("/")
    assert file
    page.route(f"{chat}/", lambda route: route.fulfill(body=file.body, headers=dict(file.headers)))
    refusal = {"error": {"code": "unauthorized", "message": "a token is needed"}}
    page.route("**/chat", lambda route: route.fulfill(status=status, json=refusal))
    page.reload()
    answer = has_ended(ask(page, "Hello"), "failed")
    expect(answer).to_contain_text(said)
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Sign in")).to_have_count(0)
