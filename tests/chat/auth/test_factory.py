"""Selecting the authentication scheme: API keys by default and closed, JWT, IAM, or none if asked for by name."""

import logging
import subprocess
import sys
from pathlib import Path

import boto3
import moto
import pytest

import winterbourne
from tests.chat.auth.requests import request
from winterbourne.chat.auth.base import ANONYMOUS
from winterbourne.chat.auth.factory import make_authenticator
from winterbourne.chat.auth.iam import IamAuthenticator
from winterbourne.chat.errors import RequestRejected, SettingsError
from winterbourne.chat.settings import Settings


class TestChoosing:
    async def test_by_default_nobody_may_call_and_init_says_so(self, caplog: pytest.LogCaptureFixture) -> None:
        closed = make_authenticator(Settings())
        with caplog.at_level(logging.WARNING):
            await closed.prepare()
        assert "every call is refused" in caplog.text
        for headers in ({}, {"x_api_key": ""}, {"x_api_key": "k"}, {"authorization": "Bearer k"}):
            with pytest.raises(RequestRejected) as refusal:
                await closed.authenticate(request(**headers))
            assert refusal.value.status == 401

    async def test_none_lets_anyone_in_and_init_says_so(self, caplog: pytest.LogCaptureFixture) -> None:
        anyone = make_authenticator(Settings(auth="none"))
        with caplog.at_level(logging.WARNING):
            await anyone.prepare()
        assert "AUTH=none" in caplog.text
        assert await anyone.authenticate(request()) == ANONYMOUS

    async def test_keys_of_the_environment_are_for_local_use(self, caplog: pytest.LogCaptureFixture) -> None:
        keys = make_authenticator(Settings(api_keys='{"me": "k"}'))
        assert (await keys.authenticate(request(x_api_key="k"))).name == "me"
        assert not caplog.records

    def test_malformed_keys_of_the_environment_stop_init(self) -> None:
        with pytest.raises(SettingsError):
            make_authenticator(Settings(api_keys="k"))

    async def test_keys_of_a_secret(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        with moto.mock_aws():
            client = boto3.client("secretsmanager", region_name="eu-west-1")
            arn = client.create_secret(Name="keys", SecretString='{"ci": "k"}')["ARN"]
            keys = make_authenticator(Settings(api_keys_secret_arn=arn))
            assert (await keys.authenticate(request(x_api_key="k"))).name == "ci"

    async def test_iam(self) -> None:
        iam = make_authenticator(Settings(auth="iam"))
        await iam.prepare()
        assert isinstance(iam, IamAuthenticator)

    def test_only_jwt_imports_its_library_and_nothing_imports_boto(self) -> None:
        check = (
            "import sys; from winterbourne.chat.auth.factory import make_authenticator\n"
            "from winterbourne.chat.settings import Settings\n"
            "for way in ('api_key', 'iam', 'none'): make_authenticator(Settings(auth=way))\n"
            "assert not {'jwt', 'botocore', 'cryptography'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(winterbourne.__file__).parents[1])
