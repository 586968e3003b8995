"""The page where its readers sign in: what it is told, and whom it may speak with."""

import re

import msgspec
import pytest

from tests.chat.http_events import RecordedResponse, call_endpoint, request
from winterbourne.chat.auth.sign_in import SignIn
from winterbourne.chat.http.endpoints.page_options import PageOptions
from winterbourne.chat.http.endpoints.sign_in_page import SignInPage

SIGN_IN = SignIn("https://login.example/authorize", "https://tokens.example/token", "", "page", "openid", "chat")


class Deployment:
    """A page, and what its issuer says."""

    def __init__(self) -> None:
        self.sign_in: SignIn | None = SIGN_IN
        self.page = SignInPage(PageOptions(), lambda: {"auth": "jwt"}, self._get)

    async def _get(self) -> SignIn | None:
        return self.sign_in

    async def visit(self) -> RecordedResponse:
        return await call_endpoint(self.page.serve, request("GET", "/"))


@pytest.fixture
def deployment() -> Deployment:
    return Deployment()


def told(response: RecordedResponse) -> dict[str, object]:
    [config] = re.findall(r"id=config>(.*?)</script>", response.body.decode())
    return dict(msgspec.json.decode(config))


def connections(response: RecordedResponse) -> list[str]:
    return re.findall("connect-src ([^;]*);", response.headers["content-security-policy"])


async def test_its_scripts_are_told_how_to_sign_in(deployment: Deployment) -> None:
    assert told(await deployment.visit())["signIn"] == {
        "authorizationEndpoint": "https://login.example/authorize",
        "tokenEndpoint": "https://tokens.example/token",
        "endSessionEndpoint": "",
        "clientId": "page",
        "scope": "openid",
        "audience": "chat",
    }


async def test_it_may_speak_with_its_server_and_the_token_endpoint_alone(deployment: Deployment) -> None:
    assert connections(await deployment.visit()) == ["'self' https://tokens.example"]


async def test_what_it_said_while_the_issuer_was_away_is_not_kept(deployment: Deployment) -> None:
    deployment.sign_in = None
    away = await deployment.visit()
    assert told(away)["signIn"] is None
    assert connections(away) == ["'self'"]
    deployment.sign_in = SIGN_IN
    back = await deployment.visit()
    assert told(back)["signIn"]
    assert back.headers["etag"] != away.headers["etag"]


async def test_it_is_made_once_for_what_the_issuer_says(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await deployment.visit()
    monkeypatch.setattr("winterbourne.chat.http.endpoints.page_document.make_document", None)
    deployment.sign_in = msgspec.structs.replace(SIGN_IN)
    assert (await deployment.visit()).body == first.body
