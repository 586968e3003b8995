"""SigV4: signing requests to AWS with the process's credentials."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from winterbourne.chat.errors import CredentialsMissing
from winterbourne.chat.infra import redaction, sigv4
from winterbourne.chat.infra.sigv4 import sign

ENGINE = Path(__file__).parents[3] / "layers" / "winterbourne" / "python"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    sigv4._credentials.cache_clear()
    yield
    sigv4._credentials.cache_clear()


def request() -> httpx.Request:
    return httpx.Request(
        "POST", "https://lambda.eu-central-1.amazonaws.com/2015-03-31/functions/f/invocations", json={}
    )


async def test_a_signature_names_key_region_and_service() -> None:
    signed = request()
    await sign(signed, "lambda", "eu-central-1")
    authorization = signed.headers["authorization"]
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/eu-central-1/lambda/aws4_request" in authorization
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token" in authorization


async def test_the_session_token_is_sent() -> None:
    signed = request()
    await sign(signed, "lambda", "eu-central-1")
    assert signed.headers["x-amz-security-token"] == "token"


async def test_the_credentials_are_redacted_once_they_were_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session-token")
    await sign(request(), "lambda", "eu-central-1")
    assert redaction.redact("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY a-session-token") == "[redacted] [redacted]"


async def test_the_signature_covers_the_body() -> None:
    one, other = request(), httpx.Request("POST", request().url, json={"other": 1})
    await sign(one, "lambda", "eu-central-1")
    await sign(other, "lambda", "eu-central-1")
    assert one.headers["authorization"] != other.headers["authorization"]


async def test_missing_credentials_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(CredentialsMissing):
        await sign(request(), "lambda", "eu-central-1")


def test_importing_it_does_not_import_botocore() -> None:
    check = "import sys; import winterbourne.chat.infra.sigv4; sys.exit('botocore' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], env={"PYTHONPATH": str(ENGINE)}, check=True)
