"""JWT authentication: valid and invalid tokens, scopes, and fetching the issuer's signing keys (JWKS over HTTP)."""

import asyncio
import base64
import gzip
import json
import math
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
from winterbourne.chat.auth.jwt import MAX_JWKS_BYTES, MAX_TOKEN_CHARS, JwtAuthenticator
from winterbourne.chat.errors import RequestRejected, SettingsError
from winterbourne.chat.http.request import Request
from winterbourne.chat.infra import http_pool
from winterbourne.chat.infra.refreshing_cache import RefreshingCache
from winterbourne.chat.settings import AuthSettings

ISSUER = "https://issuer.example/"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def public_keys(**keys: Any) -> list[dict[str, Any]]:
    """The public keys (JWKs) as an issuer publishes them."""
    return [{**_jwk(key), "kid": kid} for kid, key in keys.items()]


def _jwk(key: Any) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return algorithm.to_jwk(key.public_key(), as_dict=True)


class Issuer:
    """Serves its JWKS on loopback; counts the requests."""

    def __init__(self) -> None:
        self.keys = public_keys(r=RSA, e=EC)
        self.status = 200
        self.headers = ""
        self.compress: Callable[[bytes], bytes] = bytes
        self.reads = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.reads += 1
        await self.answers.wait()
        body = self.compress(json.dumps({"keys": self.keys}).encode())
        head = f"HTTP/1.1 {self.status} x\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{self.headers}\r\n"
        writer.write(head.encode())
        writer.write(body)
        writer.close()
        await writer.wait_closed()

    def settings(self, **overrides: Any) -> AuthSettings:
        values = {"auth": "jwt", "jwt_issuer": ISSUER, "jwt_audience": "chat", "jwt_jwks_url": self.url, **overrides}
        return AuthSettings(**values)


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
def authenticator(issuer: Issuer) -> JwtAuthenticator:
    return JwtAuthenticator(issuer.settings())


CLAIMS = {"iss": ISSUER, "aud": "chat", "sub": "alice", "exp": time.time() + 3600}


def token(key: Any = RSA, algorithm: str = "RS256", kid: str | None = "r", **changes: Any) -> str:
    claims = {"iss": ISSUER, "aud": "chat", "sub": "alice", "exp": time.time() + 600, **changes}
    present = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(present, key, algorithm=algorithm, headers={"kid": kid} if kid else {})


def bearer_request(token: str) -> Request:
    return Request(method="GET", raw_path="/", headers={"authorization": f"Bearer {token}"})


async def rejection(authenticator: JwtAuthenticator, token: str) -> RequestRejected:
    with pytest.raises(RequestRejected) as rejected:
        await authenticator.authenticate(bearer_request(token))
    assert token not in f"{rejected.value}{rejected.value.headers}"
    return rejected.value


class TestValidTokens:
    @pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA, "RS256", "r"), (EC, "ES256", "e")])
    async def test_the_caller_is_the_subject(
        self, authenticator: JwtAuthenticator, key: Any, algorithm: str, kid: str
    ) -> None:
        caller = await authenticator.authenticate(bearer_request(token(key, algorithm, kid)))
        assert caller == Caller("jwt:alice", "alice")

    async def test_the_audience_may_be_one_of_several(self, authenticator: JwtAuthenticator) -> None:
        caller = await authenticator.authenticate(bearer_request(token(aud=["other", "chat"])))
        assert caller.name == "alice"

    async def test_a_small_clock_skew_is_tolerated(self, authenticator: JwtAuthenticator) -> None:
        skewed = token(exp=time.time() - 5, nbf=time.time() + 25)
        assert (await authenticator.authenticate(bearer_request(skewed))).name == "alice"

    async def test_a_single_key_needs_no_key_id(self, authenticator: JwtAuthenticator, issuer: Issuer) -> None:
        issuer.keys = public_keys(only=RSA)
        assert (await authenticator.authenticate(bearer_request(token(kid=None)))).name == "alice"


INVALID_TOKENS = {
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
    "no text": "\ud800",
    "no text in a part": token()[:-1] + "\udfff",
    "longer than any issuer's": token(padding="x" * MAX_TOKEN_CHARS),
    "two tokens, as from two headers": f"{token()},Bearer {token()}",
    "for several audiences but this": token(aud=["other", "third"]),
    "of a list of audiences and more": token(aud=["chat", 5]),
    "of an audience that is no text": token(aud={"chat": True}),
    "with an infinite end": jwt.encode({**CLAIMS, "exp": math.inf}, RSA, "RS256", {"kid": "r"}),
    "with an end that is no number": jwt.encode({**CLAIMS, "exp": "soon"}, RSA, "RS256", {"kid": "r"}),
    "issued in the future": token(iat=time.time() + 3600),
    "issued at no time": jwt.encode({**CLAIMS, "iat": [1]}, RSA, "RS256", {"kid": "r"}),
    "with claims that are no object": jwt.api_jws.encode(b"[]", RSA, "RS256", {"kid": "r"}),
    "with claims that nest too deep": jwt.api_jws.encode(b"[" * 6000, RSA, "RS256", {"kid": "r"}),
}


class TestInvalidTokens:
    @pytest.mark.parametrize("name", INVALID_TOKENS)
    async def test_are_rejected_with_a_challenge(self, authenticator: JwtAuthenticator, name: str) -> None:
        rejected = await rejection(authenticator, INVALID_TOKENS[name])
        assert (rejected.status, rejected.code) == (401, "unauthorized")
        assert rejected.headers["www-authenticate"].startswith('Bearer realm="chat", error="invalid_token"')
        assert rejected.headers["www-authenticate"].isascii()

    async def test_half_a_character_is_rejected(self, authenticator: JwtAuthenticator) -> None:
        request = Request(method="GET", raw_path="/", headers={"x-api-key": "\ud800"})
        with pytest.raises(RequestRejected, match="malformed"):
            await authenticator.authenticate(request)

    async def test_a_missing_token_is_rejected(self, authenticator: JwtAuthenticator) -> None:
        with pytest.raises(RequestRejected, match="An API key or token is needed"):
            await authenticator.authenticate(Request(method="GET", raw_path="/"))

    async def test_the_error_says_that_the_token_has_expired(self, authenticator: JwtAuthenticator) -> None:
        assert str(await rejection(authenticator, INVALID_TOKENS["expired"])) == "the token has expired"

    @pytest.mark.parametrize(
        ("name", "logged"),
        [
            ("without an audience", "MissingRequiredClaimError aud"),
            ("for another audience", "InvalidAudienceError"),
            ("of another issuer", "InvalidIssuerError"),
            ("not valid yet", "ImmatureSignatureError"),
            ("changed", "InvalidSignatureError"),
        ],
    )
    async def test_the_log_says_what_is_wrong_and_quotes_nothing(
        self, authenticator: JwtAuthenticator, caplog: pytest.LogCaptureFixture, name: str, logged: str
    ) -> None:
        await rejection(authenticator, INVALID_TOKENS[name])
        assert f"a token was refused: {logged}" in caplog.text
        assert "other" not in caplog.text

    async def test_an_unsupported_algorithm_is_rejected_without_fetching_keys(
        self, authenticator: JwtAuthenticator, issuer: Issuer
    ) -> None:
        await rejection(authenticator, INVALID_TOKENS["not signed at all"])
        assert issuer.reads == 0


def _encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
HEADERS = st.fixed_dictionaries({}, optional=dict.fromkeys(("alg", "kid", "typ", "crit", "b64"), JSON_VALUES))


class TestArbitraryText:
    @settings(max_examples=30)
    @given(
        st.text()
        | st.tuples(HEADERS | JSON_VALUES, JSON_VALUES).map(lambda parts: ".".join([*map(_encoded, parts), ""]))
    )
    @example(base64.urlsafe_b64encode(b"[" * 6000).decode() + ".e30.")
    @example(f"{_encoded({'alg': 'RS256', 'kid': {}})}.e30.")
    def test_is_rejected(self, text: str) -> None:
        with pytest.raises(RequestRejected) as rejected:
            asyncio.run(self._authenticate_without_keys(text))
        assert rejected.value.status in {401, 503}

    async def _authenticate_without_keys(self, text: str) -> Caller:
        authenticator = JwtAuthenticator(AuthSettings(jwt_issuer=ISSUER, jwt_audience="chat"))
        authenticator._jwks = RefreshingCache("no keys", self._fail_to_fetch)
        return await authenticator.authenticate(Request(method="GET", raw_path="/", headers={"x-api-key": text}))

    async def _fail_to_fetch(self) -> Any:
        raise TimeoutError


CLAIM_VALUES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("iss", "aud", "sub", "exp", "nbf", "iat", "jti", "scope"), JSON_VALUES)
)


class TestArbitraryClaims:
    @settings(max_examples=60)
    @given(CLAIM_VALUES)
    def test_are_rejected_though_they_are_signed(self, claims: dict[str, Any]) -> None:
        signed = jwt.api_jws.encode(json.dumps(claims).encode(), EC, "ES256", {"kid": "e"})
        with pytest.raises(RequestRejected) as rejected:
            asyncio.run(self._authenticate(signed))
        assert rejected.value.status == 401

    async def _authenticate(self, signed: str) -> Caller:
        authenticator = JwtAuthenticator(AuthSettings(jwt_issuer=ISSUER, jwt_audience="chat"))
        authenticator._jwks = RefreshingCache("the keys", self._fetch)
        return await authenticator.authenticate(bearer_request(signed))

    async def _fetch(self) -> jwt.PyJWKSet:
        return jwt.PyJWKSet.from_dict({"keys": public_keys(e=EC)})


class TestScope:
    @pytest.mark.parametrize("claims", [{"scope": "read chat"}, {"scp": ["chat"]}])
    async def test_a_token_with_the_scope_is_accepted(self, issuer: Issuer, claims: dict[str, Any]) -> None:
        authenticator = JwtAuthenticator(issuer.settings(jwt_scope="chat"))
        assert (await authenticator.authenticate(bearer_request(token(**claims)))).name == "alice"

    @pytest.mark.parametrize("claims", [{}, {"scope": "chats"}, {"scp": []}, {"scp": 1}, {"scope": {"chat": 1}}])
    async def test_a_token_without_the_scope_is_forbidden(self, issuer: Issuer, claims: dict[str, Any]) -> None:
        rejected = await rejection(JwtAuthenticator(issuer.settings(jwt_scope="chat")), token(**claims))
        assert (rejected.status, rejected.code) == (403, "forbidden")
        assert 'error="insufficient_scope"' in rejected.headers["www-authenticate"]


class TestSigningKeys:
    async def test_are_fetched_once(self, authenticator: JwtAuthenticator, issuer: Issuer) -> None:
        await asyncio.gather(*(authenticator.authenticate(bearer_request(token())) for _ in range(5)))
        assert issuer.reads == 1

    async def test_can_be_fetched_in_advance(self, authenticator: JwtAuthenticator, issuer: Issuer) -> None:
        issuer.status = 500
        await authenticator.prepare()
        issuer.status = 200
        await authenticator.prepare()
        await authenticator.authenticate(bearer_request(token()))
        assert issuer.reads == 2

    async def test_a_new_key_is_accepted_at_its_first_use(
        self, authenticator: JwtAuthenticator, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("winterbourne.chat.auth.jwt.UNKNOWN_KEY_MAX_AGE_S", 0)
        await authenticator.authenticate(bearer_request(token()))
        issuer.keys = public_keys(o=OTHER)
        assert (await authenticator.authenticate(bearer_request(token(OTHER, "ES256", "o")))).name == "alice"

    async def test_unknown_keys_do_not_cause_a_fetch_each_time(
        self, authenticator: JwtAuthenticator, issuer: Issuer
    ) -> None:
        for _ in range(5):
            await rejection(authenticator, INVALID_TOKENS["of a key that is not published"])
        assert issuer.reads == 1

    async def test_the_issuer_may_replace_all_keys(
        self, authenticator: JwtAuthenticator, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await authenticator.authenticate(bearer_request(token()))
        monkeypatch.setattr("winterbourne.chat.auth.jwt.UNKNOWN_KEY_MAX_AGE_S", 0)
        issuer.keys = public_keys(o=OTHER)
        await authenticator.authenticate(bearer_request(token(OTHER, "ES256", "o")))
        assert (await rejection(authenticator, token())).status == 401

    async def test_callers_with_known_keys_do_not_wait_for_an_issuer_that_hangs(
        self, authenticator: JwtAuthenticator, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await authenticator.authenticate(bearer_request(token()))
        monkeypatch.setattr("winterbourne.chat.auth.jwt.UNKNOWN_KEY_MAX_AGE_S", 0)
        issuer.answers.clear()
        unknown = [asyncio.create_task(rejection(authenticator, token(OTHER, "ES256", "x"))) for _ in range(20)]
        await asyncio.sleep(0)
        assert (await authenticator.authenticate(bearer_request(token()))).name == "alice"
        assert not any(task.done() for task in unknown)
        issuer.answers.set()
        assert {rejected.status for rejected in await asyncio.gather(*unknown)} == {401}
        assert issuer.reads == 2

    @pytest.mark.parametrize(
        ("status", "headers", "body"),
        [(503, "", None), (302, "location: /keys\r\n", None), (200, "", b"<html>"), (200, "", b'{"keys": []}')],
    )
    async def test_a_failure_of_the_issuer_is_told_to_all_who_wait(
        self, authenticator: JwtAuthenticator, issuer: Issuer, status: int, headers: str, body: bytes | None
    ) -> None:
        issuer.status, issuer.headers = status, headers
        if body is not None:
            issuer.compress = lambda _: body
        rejections = await asyncio.gather(*(rejection(authenticator, token()) for _ in range(9)))
        assert {rejected.status for rejected in rejections} == {503}
        assert issuer.reads <= (3 if status == 503 else 1)  # the pool repeats what a service could not take

    async def test_may_be_compressed(self, authenticator: JwtAuthenticator, issuer: Issuer) -> None:
        issuer.headers, issuer.compress = "content-encoding: gzip\r\n", gzip.compress
        assert (await authenticator.authenticate(bearer_request(token()))).name == "alice"

    @pytest.mark.parametrize(
        ("headers", "compress"),
        [
            ("", lambda body: body + b" " * MAX_JWKS_BYTES),
            ("content-encoding: gzip\r\n", lambda body: gzip.compress(body + b" " * 10_000_000)),
            ("content-encoding: gzip, gzip\r\n", lambda body: gzip.compress(gzip.compress(body))),
        ],
    )
    async def test_a_response_over_the_size_limit_is_not_read(
        self, authenticator: JwtAuthenticator, issuer: Issuer, headers: str, compress: Callable[[bytes], bytes]
    ) -> None:
        issuer.headers, issuer.compress = headers, compress
        assert (await rejection(authenticator, token())).status == 503

    async def test_an_unavailable_issuer_means_503_and_retry_after(
        self, authenticator: JwtAuthenticator, issuer: Issuer
    ) -> None:
        issuer.status = 500
        rejected = await rejection(authenticator, token())
        assert (rejected.status, rejected.headers) == (503, {"retry-after": "10"})


class TestSettings:
    @pytest.mark.parametrize(
        "changes", [{"jwt_issuer": ""}, {"jwt_audience": ""}, {"jwt_jwks_url": "http://issuer.example/keys"}]
    )
    async def test_a_missing_or_insecure_value_fails_init(self, issuer: Issuer, changes: dict[str, str]) -> None:
        with pytest.raises(SettingsError, match="JWT_"):
            make_authenticator(issuer.settings(**changes))

    async def test_the_default_jwks_url_is_the_well_known_one(self) -> None:
        authenticator = JwtAuthenticator(AuthSettings(jwt_issuer=ISSUER, jwt_audience="chat"))
        assert authenticator._jwks_url == "https://issuer.example/.well-known/jwks.json"

    async def test_auth_jwt_selects_it(self, issuer: Issuer) -> None:
        assert isinstance(make_authenticator(issuer.settings()), JwtAuthenticator)


async def test_it_is_ready_if_the_issuers_keys_can_be_read(authenticator: JwtAuthenticator, issuer: Issuer) -> None:
    issuer.status = 500
    with pytest.raises(RequestRejected):
        await authenticator.check_ready()
    issuer.status = 200
    await authenticator.check_ready()
