"""Selecting the authentication scheme: API keys by default and closed, JWT, IAM, or none if asked for by name."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

import winterbourne
from tests.chat.auth.requests import request
from tests.chat.stores import aws
from winterbourne.chat.auth.base import ANONYMOUS
from winterbourne.chat.auth.factory import make_authenticator
from winterbourne.chat.auth.iam import IamAuthenticator
from winterbourne.chat.errors import RequestRejected, SettingsError
from winterbourne.chat.infra import http_pool
from winterbourne.chat.settings import AuthSettings


class TestSelection:
    async def test_by_default_every_request_is_rejected_and_init_logs_a_warning(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        authenticator = make_authenticator(AuthSettings())
        with caplog.at_level(logging.WARNING):
            await authenticator.prepare()
        assert "every call is refused" in caplog.text
        for headers in ({}, {"x_api_key": ""}, {"x_api_key": "k"}, {"authorization": "Bearer k"}):
            with pytest.raises(RequestRejected) as rejection:
                await authenticator.authenticate(request(**headers))
            assert rejection.value.status == 401

    async def test_none_accepts_everyone_and_init_logs_a_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        authenticator = make_authenticator(AuthSettings(auth="none"))
        with caplog.at_level(logging.WARNING):
            await authenticator.prepare()
        assert "AUTH=none" in caplog.text
        assert await authenticator.authenticate(request()) == ANONYMOUS

    async def test_keys_in_the_environment_are_accepted_without_a_warning(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        authenticator = make_authenticator(AuthSettings(api_keys='{"me": "k"}'))
        assert (await authenticator.authenticate(request(x_api_key="k"))).name == "me"
        assert not caplog.records

    def test_malformed_keys_in_the_environment_fail_init(self) -> None:
        with pytest.raises(SettingsError):
            make_authenticator(AuthSettings(api_keys="k"))

    async def test_keys_in_a_secret_are_accepted(self) -> None:
        with aws() as client:
            arn = client("secretsmanager").create_secret(Name="keys", SecretString='{"ci": "k"}')["ARN"]
            authenticator = make_authenticator(AuthSettings(api_keys_secret_arn=arn))
            assert (await authenticator.authenticate(request(x_api_key="k"))).name == "ci"
            await http_pool.close()

    async def test_iam_is_selected_by_name(self) -> None:
        authenticator = make_authenticator(AuthSettings(auth="iam"))
        await authenticator.prepare()
        assert isinstance(authenticator, IamAuthenticator)

    def test_no_other_scheme_imports_the_jwt_library_and_none_imports_boto(self) -> None:
        check = (
            "import sys; from winterbourne.chat.auth.factory import make_authenticator\n"
            "from winterbourne.chat.settings import AuthSettings\n"
            "for way in ('api_key', 'iam', 'none'): make_authenticator(AuthSettings(auth=way))\n"
            "assert not {'jwt', 'botocore', 'cryptography'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(winterbourne.__file__).parents[1])
