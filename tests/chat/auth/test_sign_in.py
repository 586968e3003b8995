"""Where the page signs in: an issuer's discovery document over HTTP, and what is made of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from winterbourne.chat.auth.sign_in import MAX_AGE_S, MAX_BYTES, SignIn, SignInDiscovery
from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra import http_pool
from winterbourne.chat.settings import AuthSettings


class Issuer:
    """Serves its discovery document on loopback; counts the requests."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.reads: list[str] = []
        self.document: dict[str, Any] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reads.append((await reader.readuntil(b"\r\n\r\n")).split()[1].decode())
        body = json.dumps(self.document).encode()
        head = f"HTTP/1.1 {self.status} x\r\nlocation: {self.url}/other\r\ncontent-length: {len(body)}\r\n"
        writer.write(f"{head}connection: close\r\n\r\n".encode() + body)
        writer.close()
        await writer.wait_closed()

    def settings(self, **overrides: str) -> AuthSettings:
        values: dict[str, Any] = {"jwt_audience": "chat", "jwt_client_id": "page", **overrides}
        return AuthSettings(auth="jwt", jwt_issuer=self.url, **values)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    issuer = Issuer()
    server = await asyncio.start_server(issuer.serve, "127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/realm"
    issuer.document = {
        "issuer": issuer.url,
        "authorization_endpoint": "https://login.example/authorize?p=1",
        "token_endpoint": "https://tokens.example:8443/token",
    }
    yield issuer
    await http_pool.close()
    server.close()
    await server.wait_closed()


async def test_the_endpoints_are_those_of_the_document_under_the_issuer(issuer: Issuer) -> None:
    issuer.document["end_session_endpoint"] = "https://login.example/end"
    found = await SignInDiscovery(issuer.settings()).get()
    endpoints = (
        "https://login.example/authorize?p=1",
        "https://tokens.example:8443/token",
        "https://login.example/end",
    )
    assert found == SignIn(*endpoints, "page", "openid", "chat")
    assert found.token_origin == "https://tokens.example:8443"
    assert issuer.reads == ["/realm/.well-known/openid-configuration"]


@pytest.mark.parametrize(
    ("supported", "required", "asked"),
    [
        ([], "", "openid"),
        (["openid", "email"], "chat.ask", "openid chat.ask"),
        (["openid", "offline_access"], "chat.ask", "openid chat.ask offline_access"),
    ],
)
async def test_a_scope_that_the_issuer_may_not_know_is_not_asked_for(
    issuer: Issuer, supported: list[str], required: str, asked: str
) -> None:
    issuer.document["scopes_supported"] = supported
    found = await SignInDiscovery(issuer.settings(jwt_scope=required)).get()
    assert found
    assert found.scope == asked


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://another.example"},
        {"token_endpoint": "http://tokens.example/token"},
        {"token_endpoint": "https://tokens.example; script-src *"},
        {"token_endpoint": "https://*.example"},
        {"token_endpoint": "https://user@tokens.example/token"},
        {"token_endpoint": "https://tokens.example\n/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"end_session_endpoint": "//login.example/end"},
        {"token_endpoint": None},
        {"padding": "x" * MAX_BYTES},
    ],
)
async def test_a_document_that_cannot_be_trusted_is_not_used(
    issuer: Issuer, changes: dict[str, str | None], caplog: pytest.LogCaptureFixture
) -> None:
    issuer.document |= changes
    assert await SignInDiscovery(issuer.settings()).get() is None
    assert "the page cannot sign anybody in" in caplog.text


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_only_a_document_at_its_place_is_read(issuer: Issuer, status: int) -> None:
    issuer.status = status
    assert await SignInDiscovery(issuer.settings()).get() is None
    assert set(issuer.reads) == {"/realm/.well-known/openid-configuration"}


async def test_it_is_kept_for_an_hour_and_longer_while_the_issuer_is_away(issuer: Issuer) -> None:
    now = 1000.0
    discovery = SignInDiscovery(issuer.settings(), lambda: now)
    found = await discovery.get()
    now += MAX_AGE_S - 1
    issuer.document["token_endpoint"] = "https://tokens.example/new"
    assert await discovery.get() == found
    now += 1
    issuer.status = 404
    assert await discovery.get() == found
    now += MAX_AGE_S
    issuer.status = 200
    changed = await discovery.get()
    assert changed
    assert changed.token_endpoint == "https://tokens.example/new"


async def test_a_failure_is_not_kept(issuer: Issuer) -> None:
    discovery = SignInDiscovery(issuer.settings())
    issuer.status = 404
    assert await discovery.get() is None
    issuer.status = 200
    assert await discovery.get()


@pytest.mark.parametrize("url", ["", "issuer.example", "http://issuer.example", "https://issuer.example; x"])
def test_an_issuer_without_https_is_refused_when_the_environment_starts(url: str) -> None:
    with pytest.raises(SettingsError, match="JWT_CLIENT_ID needs a JWT_ISSUER with an https URL"):
        SignInDiscovery(AuthSettings(jwt_issuer=url, jwt_client_id="page"))
