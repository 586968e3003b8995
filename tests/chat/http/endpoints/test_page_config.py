"""What the scripts of the page are told: how the chat is deployed, as they need to know it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from winterbourne.chat.core.capabilities import Capabilities
from winterbourne.chat.core.provider import Provider
from winterbourne.chat.http.endpoints.page_config import page_config
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.settings import Settings


def config(provider: Provider | None = None, *, is_durable: bool = False, **settings: object) -> Mapping[str, Any]:
    """As the page's scripts read it."""
    made = Settings.of(**settings)
    told = page_config(made, provider or make_provider(made.model), is_durable=is_durable)
    return dict(msgspec.json.decode(msgspec.json.encode(told)))


class Narrow:
    """A provider of one's own whose models take little."""

    name = "narrow"
    takes_image_urls = False

    def capabilities(self, _: str) -> Capabilities:
        return Capabilities(images=False, documents=frozenset({"application/pdf"}), document_bytes=1000)


def test_the_scheme_of_authentication_is_told_also_one_of_ones_own() -> None:
    assert [config(auth=name)["auth"] for name in ("none", "api_key", "badge")] == ["none", "api_key", "badge"]


def test_whether_conversations_outlive_the_process_is_told() -> None:
    assert [config(is_durable=is_durable)["isDurable"] for is_durable in (True, False)] == [True, False]


def test_there_are_models_to_choose_from_only_if_there_is_more_than_one() -> None:
    assert config(model_id="large")["models"] == []
    assert config(model_id="large", model_choices="large")["models"] == []
    assert config(model_id="large", model_choices="small, tiny")["models"] == ["large", "small", "tiny"]


def test_the_limits_are_those_of_a_request() -> None:
    told = config(max_body_bytes=9000, max_images=2, max_documents=1, max_message_chars=500)
    assert told["limits"] == {"body": 9000, "images": 2, "documents": 1, "chars": 500}


def test_what_the_default_model_takes_is_told_and_text_is_always_taken() -> None:
    texts = ["text/csv", "text/html", "text/markdown", "text/plain"]
    narrow: Any = Narrow()
    assert config(narrow)["takes"] == {
        "images": False,
        "documents": ["application/pdf", *texts],
        "documentBytes": 1000,
    }


def test_no_setting_with_a_secret_is_told() -> None:
    assert "hush" not in str(config(api_keys='{"x": "hush"}', openai_api_key="hush", model_id="m"))
