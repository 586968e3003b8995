"""Provider configuration: keys, base URLs and extra fields are validated at init; keys are refreshed after a 401."""

import asyncio

import pytest

from tests.chat.providers.provider_helpers import TEXT, collect_events, failure, openai_provider, text
from tests.upstream import failing, saying, upstream
from winterbourne.chat.errors import ChatError, SettingsError
from winterbourne.chat.infra import redaction, secrets
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.providers.provider_config import ApiKey
from winterbourne.chat.settings import Settings


@pytest.mark.parametrize("provider", ["openai", "anthropic", "bedrock"])
def test_a_key_is_redacted_as_soon_as_its_provider_exists(provider: str) -> None:
    key = "made up of words"
    keys = {"openai_api_key": key, "anthropic_api_key": key, "aws_bearer_token_bedrock": key}
    make_provider(Settings.of(model_provider=provider, bedrock_region="eu-west-1", **keys).model)
    assert redaction.redact(f"with {key}") == "with [redacted]"


@pytest.mark.parametrize("fallback", ["", "openai:gpt-5.4-mini"])
def test_a_missing_key_names_the_settings_that_would_bring_it(fallback: str) -> None:
    chosen = "anthropic" if fallback else "openai"
    settings = Settings.of(model_provider=chosen, anthropic_api_key="k", model_fallback=fallback)
    with pytest.raises(SettingsError, match=r"^OPENAI_API_KEY: .* for MODEL_FALLBACK OPENAI_API_KEY_SECRET_ARN$"):
        make_provider(settings.model)


class TestKeysFromSecrets:
    async def test_a_rotated_key_is_read_again_when_the_old_one_is_rejected(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = ["sk-old", "sk-new"]
        monkeypatch.setattr(secrets, "_fetch", lambda _: asyncio.sleep(0, keys.pop(0)))
        async with upstream(failing(401), saying(TEXT)) as server:
            arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key"
            assert (
                text(await collect_events(openai_provider(server, model_api_key_secret_arn=arn))) == "Hello, wörld 🌍!"
            )
        used = [request.headers["authorization"] for request in server.requests]
        assert used == ["Bearer sk-old", "Bearer sk-new"]

    async def test_a_key_that_stays_the_same_is_not_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(secrets, "_fetch", lambda _: asyncio.sleep(0, "sk-old"))
        async with upstream(failing(401)) as server:
            arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:key"
            _, error = await failure(openai_provider(server, model_api_key_secret_arn=arn))
        assert "MODEL_API_KEY_SECRET_ARN" in str(error)
        assert len(server.requests) == 1

    async def test_a_key_that_another_request_has_refreshed_is_not_read_twice(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = ["sk-old", "sk-new"]
        monkeypatch.setattr(secrets, "_fetch", lambda _: asyncio.sleep(0, keys.pop(0)))
        key = ApiKey("", "OPENAI_API_KEY", "arn:aws:ssm:eu-west-1:1:parameter/key")
        assert await key.read() == "sk-old"
        assert await key.refresh("sk-old") == "sk-new"
        assert await key.refresh("sk-old") == "sk-new"


class TestKeysFromVariables:
    @pytest.mark.parametrize("key", ["sk-\x00", "schlüssel", "a\nb"])
    def test_a_key_that_is_not_a_valid_header_is_an_init_error_that_does_not_show_it(self, key: str) -> None:
        with pytest.raises(ChatError, match=r"^OPENAI_API_KEY: ") as error:
            make_provider(Settings.of(model_provider="openai", openai_api_key=key).model)
        assert key not in str(error.value)


class TestInvalidSettings:
    @pytest.mark.parametrize("provider", ["openai", "anthropic", "bedrock"])
    @pytest.mark.parametrize("extra", ["[1]", "{", "1"])
    def test_an_extra_body_that_is_not_an_object_is_an_init_error(self, provider: str, extra: str) -> None:
        options = {
            "openai_api_key": "k",
            "anthropic_api_key": "k",
            "aws_region": "eu-west-1",
            "model_extra_body": extra,
        }
        with pytest.raises(ChatError, match=r"^MODEL_EXTRA_BODY: "):
            make_provider(Settings.of(model_provider=provider, **options).model)

    @pytest.mark.parametrize("address", ["ftp://x", "localhost:8000", "http://", "http://a b", "http://x:0x"])
    def test_an_invalid_base_url_is_an_init_error(self, address: str) -> None:
        with pytest.raises(ChatError, match=r"^OPENAI_BASE_URL: "):
            make_provider(Settings.of(model_provider="openai", openai_base_url=address).model)
