"""API key authentication: known and unknown keys, key rotation, and keys that cannot be read."""

import contextlib
import hmac
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.auth.requests import request
from winterbourne.chat.auth import api_key
from winterbourne.chat.auth.api_key import ApiKeyAuthenticator, parse_keys
from winterbourne.chat.auth.base import Caller
from winterbourne.chat.errors import RequestRejected, SettingsError
from winterbourne.chat.infra import redaction


class Secret:
    """A stored secret with the callers' keys; counts how often it is read."""

    def __init__(self, **keys: str | list[str]) -> None:
        self.keys = json.dumps(keys)
        self.reads = 0
        self.time_s = 1_000.0
        self.error: Exception | None = None
        self.authenticator = ApiKeyAuthenticator(self.read, now=lambda: self.time_s)

    async def read(self) -> str:
        self.reads += 1
        if self.error:
            raise self.error
        return self.keys

    async def status(self, key: str) -> int:
        try:
            await self.authenticator.authenticate(request(x_api_key=key))
        except RequestRejected as rejection:
            return rejection.status
        return 200


class TestApiKeys:
    def test_the_keys_of_all_callers_are_redacted(self) -> None:
        parse_keys('{"token-bot":"key-of-a-bot","bob":["key-of-bob","next-key-of-bob"]}')
        assert redaction.redact("key-of-a-bot key-of-bob next-key-of-bob") == "[redacted] [redacted] [redacted]"

    async def test_a_key_names_its_caller(self) -> None:
        keys = ApiKeyAuthenticator(Secret(alice="a1", bob=["b1", "b2"]).read)
        assert await keys.authenticate(request(authorization="Bearer a1")) == Caller("key:alice", "alice")

    async def test_two_keys_of_one_name_are_one_caller(self) -> None:
        keys = ApiKeyAuthenticator(Secret(bob=["b1", "b2"]).read)
        assert await keys.authenticate(request(x_api_key="b1")) == await keys.authenticate(request(x_api_key="b2"))

    @pytest.mark.parametrize("key", ["", "b", "b11", "B1", "alice"])
    async def test_any_other_key_is_rejected(self, key: str) -> None:
        assert await Secret(alice="a1", bob=["b1"]).status(key) == 401

    @pytest.mark.parametrize("key", ["", "{}", "a1"])
    async def test_without_configured_keys_every_key_is_rejected(self, key: str) -> None:
        assert await Secret().status(key) == 401

    async def test_a_rejection_does_not_quote_the_key(self) -> None:
        with pytest.raises(RequestRejected) as rejection:
            await Secret(alice="a1").authenticator.authenticate(request(x_api_key="s3cr3t"))
        assert "s3cr3t" not in f"{rejection.value}{rejection.value.headers}"

    async def test_every_key_is_compared_in_constant_time_even_after_a_match(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compared: list[tuple[int, int]] = []

        def compare(a: bytes, b: bytes) -> bool:
            compared.append((len(a), len(b)))
            return a == b

        monkeypatch.setattr(hmac, "compare_digest", compare)
        await Secret(a="first", b=["second", "a much longer one"]).status("first")
        assert compared == [(32, 32)] * 3  # digests: their length does not reveal the keys'


class TestRotation:
    async def test_a_new_key_is_accepted_at_its_first_use(self) -> None:
        secret = Secret(alice="old")
        assert await secret.status("old") == 200
        secret.keys = '{"alice": ["new", "old"]}'
        secret.time_s += api_key.UNKNOWN_KEY_MAX_AGE_S
        assert await secret.status("new") == 200

    async def test_a_removed_key_is_rejected_after_a_while(self) -> None:
        secret = Secret(alice="old")
        await secret.status("old")
        secret.keys = '{"alice": "new"}'
        secret.time_s += 300
        assert await secret.status("old") == 401

    async def test_guessing_does_not_read_the_secret_each_time(self) -> None:
        secret = Secret(alice="a")
        for _ in range(100):
            await secret.status("guess")
            secret.time_s += 1
        assert secret.reads == 10

    async def test_keys_that_became_malformed_leave_the_old_ones_valid(self) -> None:
        secret = Secret(alice="a")
        await secret.status("a")
        secret.keys = "{"
        secret.time_s += 300
        assert await secret.status("a") == 200


class TestUnreadableKeys:
    async def test_every_request_is_rejected_with_503_and_retry_after(self, caplog: pytest.LogCaptureFixture) -> None:
        secret = Secret()
        secret.error = SettingsError("API_KEYS_SECRET_ARN: the secret cannot be read: AccessDeniedException")
        with pytest.raises(RequestRejected) as rejection:
            await secret.authenticator.authenticate(request(x_api_key="s3cr3t"))
        assert (rejection.value.status, rejection.value.headers) == (503, {"retry-after": "10"})
        assert "AccessDenied" not in str(rejection.value)
        assert "AccessDenied" in caplog.text
        assert "s3cr3t" not in caplog.text

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", '"s3cr3t"', '{"a": 1}', '{"a": [1]}', '{"a": ""}', '{"": "s3cr3t"}']
    )
    def test_a_malformed_secret_is_described_and_not_quoted(self, text: str) -> None:
        with pytest.raises(SettingsError) as failure:
            parse_keys(text)
        assert "s3cr3t" not in str(failure.value)

    @given(st.text())
    def test_any_text_is_parsed_or_a_settings_error(self, text: str) -> None:
        with contextlib.suppress(SettingsError):
            parse_keys(text)

    @given(st.dictionaries(st.text(min_size=1), st.lists(st.text(min_size=1)) | st.text(min_size=1)))
    def test_every_key_of_every_name_is_parsed(self, keys: dict[str, str | list[str]]) -> None:
        owners = [caller.name for _, caller in parse_keys(json.dumps(keys))]
        assert owners == [name for name, value in keys.items() for _ in (value if isinstance(value, list) else [value])]


class TestPreparing:
    async def test_the_keys_are_read_before_the_first_request(self) -> None:
        secret = Secret(alice="a")
        await secret.authenticator.prepare()
        assert await secret.status("a") == 200
        assert secret.reads == 1

    async def test_a_secret_without_keys_logs_a_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            await Secret().authenticator.prepare()
        assert "every call is refused" in caplog.text

    async def test_a_secret_that_cannot_be_read_logs_a_warning_and_is_read_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        secret = Secret(alice="a")
        secret.error = SettingsError("API_KEYS_SECRET_ARN: the secret cannot be read: AccessDeniedException")
        await secret.authenticator.prepare()
        assert "AccessDenied" in caplog.text
        secret.error = None
        assert await secret.status("a") == 200


class TestReadiness:
    async def test_is_that_there_are_keys(self) -> None:
        await Secret(alice="a1").authenticator.check_ready()
        with pytest.raises(SettingsError):
            await Secret().authenticator.check_ready()

    async def test_fails_while_there_are_none_to_be_had(self) -> None:
        secret = Secret(alice="a1")
        secret.error = TimeoutError()
        with pytest.raises(RequestRejected):
            await secret.authenticator.check_ready()
