"""SigV4: requests and URLs are signed as botocore signs them, with the process's credentials, on the event loop."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple, cast
from unittest import mock
from urllib.parse import parse_qsl, quote, urlsplit

import botocore.auth
import httpx
import pytest
from botocore.auth import S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from winterbourne.chat.errors import CredentialsMissing
from winterbourne.chat.infra import aws_credentials, redaction
from winterbourne.chat.infra.aws_credentials import Credentials
from winterbourne.chat.infra.sigv4 import Signer, sign, timestamp

ENGINE = Path(__file__).parents[3] / "layers" / "winterbourne" / "python"
EXAMPLES = 300  # 30,000 have been tried
TIME = "20261127T164339Z"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    aws_credentials._registered.cache_clear()
    yield
    aws_credentials._registered.cache_clear()


def request() -> httpx.Request:
    return httpx.Request(
        "POST", "https://lambda.eu-central-1.amazonaws.com/2015-03-31/functions/f/invocations", json={}
    )


class TestSigning:
    async def test_a_signature_names_key_region_and_service(self) -> None:
        signed = request()
        await sign(signed, "lambda", "eu-central-1")
        authorization = signed.headers["authorization"]
        assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert "/eu-central-1/lambda/aws4_request" in authorization
        assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token" in authorization

    async def test_the_session_token_is_sent(self) -> None:
        signed = request()
        await sign(signed, "lambda", "eu-central-1")
        assert signed.headers["x-amz-security-token"] == "token"

    async def test_the_time_is_now(self) -> None:
        signed, before = request(), timestamp()
        await sign(signed, "lambda", "eu-central-1")
        assert before <= signed.headers["x-amz-date"] <= timestamp()
        assert datetime.strptime(before, "%Y%m%dT%H%M%S%z").tzinfo == UTC

    async def test_the_credentials_are_redacted_once_they_were_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session-token")
        await sign(request(), "lambda", "eu-central-1")
        assert redaction.redact("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY a-session-token") == "[redacted] [redacted]"

    async def test_the_signature_covers_the_body(self) -> None:
        one, other = request(), httpx.Request("POST", request().url, json={"other": 1})
        await sign(one, "lambda", "eu-central-1")
        await sign(other, "lambda", "eu-central-1")
        assert one.headers["authorization"] != other.headers["authorization"]

    async def test_missing_credentials_are_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def nowhere() -> Credentials:
            raise CredentialsMissing

        monkeypatch.setattr("winterbourne.chat.infra.sigv4.find_credentials", nowhere)
        unsigned = request()
        with pytest.raises(CredentialsMissing):
            await sign(unsigned, "lambda", "eu-central-1")
        assert "authorization" not in unsigned.headers


PIECES = st.sampled_from(
    ["a", "Z9", ".", "..", "", "%20", "%2F", "~", "+", "*", "%C3%BC", "!'()", "b=c", "@:;,$", "x" * 40]
)
PATHS = st.lists(PIECES, max_size=8).map(lambda pieces: "/" + "/".join(pieces))
QUERIES = st.lists(
    st.sampled_from(
        ["a=1", "a=2", "a", "a=", "b==", "A=%20", "", "a-b=1", "a.b=1", "%C3%BC=%C3%BC", "x-id=Get", "=", "aa=0"]
    ),
    max_size=6,
).map("&".join)
VALUES = st.lists(st.sampled_from(["a", " ", "  ", "\t", "b,c", '"d  e"', "ü"]), max_size=8).map("".join)
HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "x-amz-target", "x-amz-meta-a", "x-amz-meta-b", "x-amz-meta-"]), VALUES
)
SECRETS = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1, max_size=40)
TOKENS = st.sampled_from(["", "token", "IQoJ/+=="])
REGIONS = st.sampled_from(["eu-central-1", "cn-north-1", "us-gov-west-1"])
METHODS = st.sampled_from(["GET", "POST", "PUT"])


class RawRequest(NamedTuple):
    """A request as it is sent, whatever httpx would make of its path."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    content: bytes
    extensions: Mapping[str, Any] = MappingProxyType({})

    @property
    def url(self) -> Any:
        return SimpleNamespace(raw_path=f"{self.path}?{self.query}".encode())


def queried(query: str) -> list[tuple[str, str]]:
    return sorted(parse_qsl(query, keep_blank_values=True))


def at_time() -> Any:
    """Sets botocore's clock."""
    moment = datetime.strptime(TIME, "%Y%m%dT%H%M%S%z")
    return mock.patch.object(botocore.auth, "get_current_datetime", return_value=moment)


class TestAsBotocore:
    @settings(max_examples=EXAMPLES)
    @given(METHODS, PATHS, QUERIES, HEADERS, st.binary(max_size=40), SECRETS, TOKENS, REGIONS)
    def test_any_request_has_the_same_signature(
        self,
        method: str,
        path: str,
        query: str,
        headers: dict[str, str],
        body: bytes,
        secret: str,
        token: str,
        region: str,
    ) -> None:
        theirs = AWSRequest(method, f"https://host.example:8443{path}?{query}", headers=headers, data=body)
        with at_time():
            SigV4Auth(ReadOnlyCredentials("AK", secret, token or None), "dynamodb", region).add_auth(theirs)
        signer = Signer(Credentials("AK", secret, token), "dynamodb", region, TIME)
        ours = RawRequest(method, path, query, {**headers, "host": "host.example:8443"}, body)
        added = signer.headers_for(cast("httpx.Request", ours))
        assert added == {name: theirs.headers[name] for name in added}

    @given(
        METHODS,
        PATHS | st.text(max_size=20).map(quote),
        st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
        SECRETS,
        TOKENS,
    )
    def test_so_has_what_httpx_sends(
        self, method: str, path: str, query: dict[str, str], secret: str, token: str
    ) -> None:
        url = httpx.URL("https://host.example", params=query).copy_with(path=f"/x{path}")
        sent = httpx.Request(method, url, content=b"body")
        theirs = AWSRequest(method, str(sent.url), data=b"body")
        with at_time():
            SigV4Auth(ReadOnlyCredentials("AK", secret, token or None), "lambda", "eu-west-1").add_auth(theirs)
        added = Signer(Credentials("AK", secret, token), "lambda", "eu-west-1", TIME).headers_for(sent)
        assert added["authorization"] == theirs.headers["authorization"]

    @given(
        METHODS,
        PATHS,
        st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=4),
        HEADERS,
        st.integers(1, 604800),
        SECRETS,
        TOKENS,
    )
    def test_any_url_has_the_same_query(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        headers: dict[str, str],
        expires_s: int,
        secret: str,
        token: str,
    ) -> None:
        theirs = AWSRequest(method, f"https://host.example{path}", headers=headers, params=query)
        with at_time():
            S3SigV4QueryAuth(ReadOnlyCredentials("AK", secret, token or None), "s3", "eu-west-1", expires_s).add_auth(
                theirs
            )
        signer = Signer(Credentials("AK", secret, token), "s3", "eu-west-1", TIME)
        ours = signer.signed_query(method, path, query, {**headers, "host": "host.example"}, expires_s)
        assert queried(ours) == queried(urlsplit(str(theirs.url)).query)


def test_importing_it_does_not_import_botocore() -> None:
    check = "import sys; import winterbourne.chat.infra.sigv4; sys.exit('botocore' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], env={"PYTHONPATH": str(ENGINE)}, check=True)
