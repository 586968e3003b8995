"""Provider configuration: settings are validated at init."""

import pytest

from winterbourne.chat.errors import ChatError
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.settings import Settings


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
            make_provider(Settings.of(model_provider=provider, **options))

    @pytest.mark.parametrize("address", ["ftp://x", "localhost:8000", "http://", "http://a b", "http://x:0x"])
    def test_an_invalid_base_url_is_an_init_error(self, address: str) -> None:
        with pytest.raises(ChatError, match=r"^OPENAI_BASE_URL: "):
            make_provider(Settings.of(model_provider="openai", openai_base_url=address))
