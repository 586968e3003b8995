"""JWT authentication: real keys, a real JWKS over HTTP, and every way in which a token can be invalid."""

import asyncio
import base64
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from winterbourne.chat.auth.base import Caller
from winterbourne.chat.auth.factory import make_authenticator
from winterbourne.chat.auth.jwt import MAX_JWKS_BYTES, JwtAuthenticator
from winterbourne.chat.errors import RequestRejected, SettingsError
from winterbourne.chat.http.request import Request
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.refreshing_cache import RefreshingCache
from winterbourne.chat.settings import Settings

ISSUER = "https://issuer.example/"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def published(**keys: Any) -> list[dict[str, Any]]:
    """The public halves, as an issuer publishes them."""
    return [{**_jwk(key), "kid": kid} for kid, key in keys.items()]


def _jwk(key: Any) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return algorithm.to_jwk(key.public_key(), as_dict=True)


class Issuer:
    """Serves its JWKS on loopback; counts the requests."""

    def __init__(self) -> None:
        self.keys = published(r=RSA, e=EC)
        self.status = 200
        self.headers = ""
        self.pack: Callable[[bytes], bytes] = bytes
        self.reads = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.reads += 1
        body = self.pack(json.dumps({"keys": self.keys}).encode())
        head = f"HTTP/1.1 {self.status} x\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{self.headers}\r\n"
        writer.write(head.encode())
        writer.write(body)
        writer.close()
        await writer.wait_closed()

    def settings(self, **more: Any) -> Settings:
        values = {"auth": "jwt", "jwt_issuer": ISSUER, "jwt_audience": "chat", "jwt_jwks_url": self.url, **more}
        return Settings(**values)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    issuer = Issuer()
    server = await asyncio.start_server(issuer.serve, "127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    yield issuer
    await http_pool.close()
    server.close()
    await server.wait_closed()


@pytest.fixture
def tokens(issuer: Issuer) -> JwtAuthenticator:
    return JwtAuthenticator(issuer.settings())


def token(key: Any = RSA, algorithm: str = "RS256", kid: str | None = "r", **changes: Any) -> str:
    claims = {"iss": ISSUER, "aud": "chat", "sub": "alice", "exp": time.time() + 600, **changes}
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers={"kid": kid} if kid else {})


def bearing(token: str) -> Request:
    return Request.from_event({"headers": {"authorization": f"Bearer {token}"}})


async def refusal(tokens: JwtAuthenticator, token: str) -> RequestRejected:
    with pytest.raises(RequestRejected) as refused:
        await tokens.authenticate(bearing(token))
    assert token not in f"{refused.value}{refused.value.headers}"
    return refused.value


class TestGoodTokens:
    @pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA, "RS256", "r"), (EC, "ES256", "e")])
    async def test_the_caller_is_the_subject(
        self, tokens: JwtAuthenticator, key: Any, algorithm: str, kid: str
    ) -> None:
        caller = await tokens.authenticate(bearing(token(key, algorithm, kid)))
        assert caller == Caller("jwt:alice", "alice")

    async def test_ours_may_be_one_audience_of_several(self, tokens: JwtAuthenticator) -> None:
        assert await tokens.authenticate(bearing(token(aud=["other", "chat"])))

    async def test_the_clocks_may_differ_a_little(self, tokens: JwtAuthenticator) -> None:
        assert await tokens.authenticate(bearing(token(exp=time.time() - 5, nbf=time.time() + 25)))

    async def test_a_lone_key_needs_no_name(self, tokens: JwtAuthenticator, issuer: Issuer) -> None:
        issuer.keys = published(only=RSA)
        assert await tokens.authenticate(bearing(token(kid=None)))


BAD = {
    "expired": token(exp=time.time() - 60),
    "without an end": token(exp=None),
    "not valid yet": token(nbf=time.time() + 3600),
    "of another issuer": token(iss="https://other.example/"),
    "for another audience": token(aud="other"),
    "without an audience": token(aud=None),
    "of nobody": token(sub=None),
    "of an empty subject": token(sub=""),
    "of a subject too long": token(sub="x" * 256),
    "of a subject that is not ASCII": token(sub="\ud800"),
    "signed by another key": token(OTHER, "ES256", "e"),
    "of a key that is not published": token(OTHER, "ES256", "o"),
    "of any of several keys": token(kid=None),
    "of a weaker algorithm than its key's": token(RSA, "RS512", "r"),
    "signed with the public key as a secret": token("x" * 32, "HS256", "r"),
    "not signed at all": token("", "none", "r"),
    "changed": token()[:-4] + "AAAA",
    "no token": "abc",
    "empty parts": "..",
    "not ASCII": "é.é.é",
}


class TestBadTokens:
    @pytest.mark.parametrize("which", BAD)
    async def test_it_is_refused_with_a_challenge(self, tokens: JwtAuthenticator, which: str) -> None:
        refused = await refusal(tokens, BAD[which])
        assert (refused.status, refused.code) == (401, "unauthorized")
        assert refused.headers["www-authenticate"].startswith('Bearer realm="chat", error="invalid_token"')
        assert refused.headers["www-authenticate"].isascii()

    async def test_none_at_all_is_refused(self, tokens: JwtAuthenticator) -> None:
        with pytest.raises(RequestRejected, match="send a key"):
            await tokens.authenticate(Request.from_event({}))

    async def test_an_expired_one_says_so(self, tokens: JwtAuthenticator) -> None:
        assert str(await refusal(tokens, BAD["expired"])) == "the token has expired"

    async def test_a_foreign_algorithm_does_not_even_ask_for_the_keys(
        self, tokens: JwtAuthenticator, issuer: Issuer
    ) -> None:
        await refusal(tokens, BAD["not signed at all"])
        assert issuer.reads == 0


def _encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
HEADERS = st.fixed_dictionaries({}, optional=dict.fromkeys(("alg", "kid", "typ", "crit", "b64"), JSON_VALUES))


class TestAnythingElse:
    @settings(max_examples=30)
    @given(
        st.text() | st.tuples(HEADERS | JSON_VALUES, JSON_VALUES).map(lambda two: ".".join([*map(_encoded, two), ""]))
    )
    @example(base64.urlsafe_b64encode(b"[" * 6000).decode() + ".e30.")
    @example(f"{_encoded({'alg': 'RS256', 'kid': {}})}.e30.")
    def test_is_refused_too(self, text: str) -> None:
        with pytest.raises(RequestRejected) as refused:
            asyncio.run(self._without_keys(text))
        assert refused.value.status in {401, 503}

    async def _without_keys(self, text: str) -> Caller:
        tokens = JwtAuthenticator(Settings(jwt_issuer=ISSUER, jwt_audience="chat"))
        tokens._jwks = RefreshingCache("no keys", self._away)
        return await tokens.authenticate(Request.from_event({"headers": {"x-api-key": text}}))

    async def _away(self) -> Any:
        raise TimeoutError


class TestScope:
    @pytest.mark.parametrize("claims", [{"scope": "read chat"}, {"scp": ["chat"]}])
    async def test_one_that_has_it_may_call(self, issuer: Issuer, claims: dict[str, Any]) -> None:
        assert await JwtAuthenticator(issuer.settings(jwt_scope="chat")).authenticate(bearing(token(**claims)))

    @pytest.mark.parametrize("claims", [{}, {"scope": "chats"}, {"scp": []}, {"scp": 1}, {"scope": {"chat": 1}}])
    async def test_one_without_it_is_forbidden(self, issuer: Issuer, claims: dict[str, Any]) -> None:
        refused = await refusal(JwtAuthenticator(issuer.settings(jwt_scope="chat")), token(**claims))
        assert (refused.status, refused.code) == (403, "forbidden")
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]


class TestKeys:
    async def test_they_are_fetched_once(self, tokens: JwtAuthenticator, issuer: Issuer) -> None:
        await asyncio.gather(*(tokens.authenticate(bearing(token())) for _ in range(5)))
        assert issuer.reads == 1

    async def test_they_may_be_fetched_beforehand(self, tokens: JwtAuthenticator, issuer: Issuer) -> None:
        issuer.status = 500
        await tokens.prepare()
        issuer.status = 200
        await tokens.prepare()
        await tokens.authenticate(bearing(token()))
        assert issuer.reads == 2

    async def test_a_new_key_is_known_at_its_first_use(
        self, tokens: JwtAuthenticator, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("winterbourne.chat.auth.jwt.UNKNOWN_KEY_MAX_AGE_S", 0)
        await tokens.authenticate(bearing(token()))
        issuer.keys = published(o=OTHER)
        assert await tokens.authenticate(bearing(token(OTHER, "ES256", "o")))

    async def test_unknown_keys_do_not_make_us_fetch_each_time(self, tokens: JwtAuthenticator, issuer: Issuer) -> None:
        for _ in range(5):
            await refusal(tokens, BAD["of a key that is not published"])
        assert issuer.reads == 1

    async def test_they_may_come_compressed(self, tokens: JwtAuthenticator, issuer: Issuer) -> None:
        issuer.headers, issuer.pack = "content-encoding: gzip\r\n", gzip.compress
        assert (await tokens.authenticate(bearing(token()))).name == "alice"

    @pytest.mark.parametrize(
        ("headers", "pack"),
        [
            ("", lambda body: body + b" " * MAX_JWKS_BYTES),
            ("content-encoding: gzip\r\n", lambda body: gzip.compress(body + b" " * 10_000_000)),
            ("content-encoding: gzip, gzip\r\n", lambda body: gzip.compress(gzip.compress(body))),
        ],
    )
    async def test_too_much_of_them_is_not_read(
        self, tokens: JwtAuthenticator, issuer: Issuer, headers: str, pack: Callable[[bytes], bytes]
    ) -> None:
        issuer.headers, issuer.pack = headers, pack
        assert (await refusal(tokens, token())).status == 503

    async def test_an_issuer_that_is_away_means_come_again(self, tokens: JwtAuthenticator, issuer: Issuer) -> None:
        issuer.status = 500
        refused = await refusal(tokens, token())
        assert (refused.status, refused.headers) == (503, {"retry-after": "10"})


class TestSettings:
    @pytest.mark.parametrize(
        "changes", [{"jwt_issuer": ""}, {"jwt_audience": ""}, {"jwt_jwks_url": "http://issuer.example/keys"}]
    )
    async def test_what_is_missing_or_unsafe_stops_init(self, issuer: Issuer, changes: dict[str, str]) -> None:
        with pytest.raises(SettingsError, match="JWT_"):
            make_authenticator(issuer.settings(**changes))

    async def test_the_keys_are_where_issuers_usually_have_them(self) -> None:
        tokens = JwtAuthenticator(Settings(jwt_issuer=ISSUER, jwt_audience="chat"))
        assert tokens._jwks_url == "https://issuer.example/.well-known/jwks.json"

    async def test_auth_jwt_chooses_it(self, issuer: Issuer) -> None:
        assert isinstance(make_authenticator(issuer.settings()), JwtAuthenticator)
