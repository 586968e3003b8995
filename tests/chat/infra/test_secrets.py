"""Secrets: read once, refreshed when old or invalidated, and never quoted in errors or the log."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import winterbourne
from tests.chat.stores import aws
from winterbourne.chat.errors import SettingsError
from winterbourne.chat.infra import http_pool, redaction, secrets
from winterbourne.chat.infra.secret_values import unwrap_single_value
from winterbourne.chat.infra.secrets import MAX_AGE_S, Secret

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key-AbCdEf"


class FakeSecretsService:
    """A fake of the service that stores the secret: counts the reads; its value and its error can be set."""

    def __init__(self) -> None:
        self.value = "first"
        self.reads = 0
        self.error: Exception | None = None
        self.time_s = 1_000_000.0

    async def fetch(self, arn: str) -> str:
        self.reads += 1
        if self.error:
            raise self.error
        return self.value

    def secret(self) -> Secret:
        return Secret(ARN, "MODEL_API_KEY_SECRET_ARN", now=lambda: self.time_s)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeSecretsService:
    fake = FakeSecretsService()
    monkeypatch.setattr(secrets, "_fetch", fake.fetch)
    return fake


class TestReading:
    async def test_a_secret_is_redacted_once_it_was_read(self, service: FakeSecretsService) -> None:
        service.value = '{"api_key":"sk-harbour-42"}'
        await service.secret().read()
        assert redaction.redact("with sk-harbour-42") == "with [redacted]"

    async def test_concurrent_readers_share_one_call(self, service: FakeSecretsService) -> None:
        secret = service.secret()
        assert await asyncio.gather(*(secret.read() for _ in range(5))) == ["first"] * 5
        assert service.reads == 1

    async def test_a_failure_names_the_setting_and_not_the_arn(self, service: FakeSecretsService) -> None:
        service.error = RuntimeError(ARN)
        with pytest.raises(SettingsError) as failure:
            await service.secret().read()
        assert str(failure.value) == "MODEL_API_KEY_SECRET_ARN: the secret cannot be read: RuntimeError"
        assert failure.value.__cause__ is None

    async def test_after_a_failure_the_next_reader_tries_again(self, service: FakeSecretsService) -> None:
        secret = service.secret()
        service.error = RuntimeError()
        with pytest.raises(SettingsError):
            await secret.read()
        service.error = None
        assert await secret.read() == "first"


class TestRotation:
    async def test_a_young_value_is_cached(self, service: FakeSecretsService) -> None:
        secret = service.secret()
        await secret.read()
        service.value = "second"
        service.time_s += MAX_AGE_S - 1
        assert await secret.read() == "first"

    async def test_an_old_value_is_read_again(self, service: FakeSecretsService) -> None:
        secret = service.secret()
        await secret.read()
        service.value = "second"
        service.time_s += MAX_AGE_S
        assert await secret.read() == "second"

    async def test_an_invalidated_value_is_read_again_at_once(self, service: FakeSecretsService) -> None:
        secret = service.secret()
        secret.invalidate(await secret.read())
        service.value = "second"
        assert await secret.read() == "second"

    async def test_a_late_invalidation_of_the_old_value_leaves_the_new_one(self, service: FakeSecretsService) -> None:
        secret = service.secret()
        secret.invalidate(await secret.read())
        service.value = "second"
        await secret.read()
        secret.invalidate("first")
        await secret.read()
        assert service.reads == 2

    async def test_a_stale_value_is_kept_while_the_service_is_unavailable(
        self, service: FakeSecretsService, caplog: pytest.LogCaptureFixture
    ) -> None:
        secret = service.secret()
        await secret.read()
        service.time_s += MAX_AGE_S
        service.error = TimeoutError("first")
        with caplog.at_level(logging.WARNING):
            assert await secret.read() == "first"
        assert "refreshing MODEL_API_KEY_SECRET_ARN failed" in caplog.text
        assert "first" not in caplog.text


class TestUnwrapSingleValue:
    @pytest.mark.parametrize(
        ("stored", "value"),
        [("sk-1\n", "sk-1"), ('{"api_key":"sk-1"}', "sk-1"), ('{"a":"1","b":"2"}', '{"a":"1","b":"2"}'), ("12", "12")],
    )
    def test_an_object_with_a_single_value_is_unwrapped(self, stored: str, value: str) -> None:
        assert unwrap_single_value(stored) == value


class TestOnAws:
    @pytest.fixture(autouse=True)
    async def client(self) -> AsyncIterator[Callable[[str], Any]]:
        with aws() as client:
            yield client
            await http_pool.close()

    async def test_a_secret_of_secrets_manager_is_read(self, client: Callable[[str], Any]) -> None:
        secret = client("secretsmanager").create_secret(Name="key", SecretString="sk-1")
        arn = secret["ARN"]
        assert await Secret(arn, "X").read() == "sk-1"

    async def test_a_parameter_of_ssm_is_decrypted(self, client: Callable[[str], Any]) -> None:
        ssm = client("ssm")
        ssm.put_parameter(Name="/chat/key", Value="sk-2", Type="SecureString")
        arn = ssm.get_parameter(Name="/chat/key")["Parameter"]["ARN"]
        assert await Secret(arn, "X").read() == "sk-2"

    async def test_the_error_for_a_missing_secret_has_the_code_from_aws(self) -> None:
        with pytest.raises(SettingsError, match=r"^X: the secret cannot be read: ResourceNotFoundException$"):
            await Secret(ARN, "X").read()

    @pytest.mark.parametrize("arn", ["", "sk-in-the-wrong-place", "arn:aws:secretsmanager"])
    async def test_what_is_no_arn_is_an_error_that_does_not_quote_it(self, arn: str) -> None:
        with pytest.raises(SettingsError, match=r"^X: the secret cannot be read: ValueError$"):
            await Secret(arn, "X").read()


def test_importing_it_imports_no_boto() -> None:
    check = "import sys, winterbourne.chat.infra.secrets; assert 'botocore' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(winterbourne.__file__).parents[1])
