"""Keys of tools: read from their environment variable or from a secret."""

import pytest

from winterbourne.chat.errors import InvalidToolDeclaration, SettingsError, ToolError
from winterbourne.chat.infra import secrets
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.keys import KeyRing

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:finnhub"


def test_a_key_is_set_by_its_variable_or_by_its_secret() -> None:
    assert not KeyRing(Settings().values()).is_set("FINNHUB_API_KEY")
    assert KeyRing(Settings.of(finnhub_api_key="k").values()).is_set("FINNHUB_API_KEY")
    assert KeyRing(Settings.of(finnhub_api_key_secret_arn=ARN).values()).is_set("FINNHUB_API_KEY")


def test_only_settings_are_known() -> None:
    assert KeyRing(Settings().values()).is_known("FINNHUB_API_KEY")
    assert not KeyRing(Settings().values()).is_known("FROM_ENVIRONMENT")


async def test_the_variable_is_read() -> None:
    assert (
        await KeyRing(Settings.of(finnhub_api_key="k").values())
        .restricted_to(["FINNHUB_API_KEY"])
        .key("FINNHUB_API_KEY")
        == "k"
    )


async def test_the_secret_wins_and_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def fetch(arn: str) -> str:
        read.append(arn)
        return '{"api_key":"from the secret"}'

    monkeypatch.setattr(secrets, "_fetch", fetch)
    keys = KeyRing(Settings.of(finnhub_api_key="k", finnhub_api_key_secret_arn=ARN).values()).restricted_to(
        ["FINNHUB_API_KEY"]
    )
    assert [await keys.key("FINNHUB_API_KEY") for _ in range(2)] == ["from the secret"] * 2
    assert read == [ARN]


async def test_a_secret_that_cannot_be_read_is_reported_by_its_setting_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(arn: str) -> str:
        raise RuntimeError(arn)

    monkeypatch.setattr(secrets, "_fetch", fetch)
    with pytest.raises(SettingsError, match=r"^FINNHUB_API_KEY_SECRET_ARN: the secret cannot be read: RuntimeError$"):
        await (
            KeyRing(Settings.of(finnhub_api_key_secret_arn=ARN).values())
            .restricted_to(["FINNHUB_API_KEY"])
            .key("FINNHUB_API_KEY")
        )


async def test_a_setting_without_a_value_is_empty() -> None:
    keys = KeyRing(Settings().values()).restricted_to(["MODEL_TEMPERATURE"])
    assert keys.setting("MODEL_TEMPERATURE") == ""
    with pytest.raises(ToolError, match="not set up yet"):
        await keys.key("MODEL_TEMPERATURE")


async def test_a_key_that_is_not_set_is_an_error() -> None:
    with pytest.raises(ToolError, match="not set up yet"):
        await KeyRing(Settings().values()).restricted_to(["FINNHUB_API_KEY"]).key("FINNHUB_API_KEY")


def test_a_tool_can_read_only_what_it_declares() -> None:
    ring = KeyRing(Settings.of(finnhub_base_url="http://127.0.0.1:1").values())
    assert ring.restricted_to(["FINNHUB_BASE_URL"]).setting("FINNHUB_BASE_URL") == "http://127.0.0.1:1"
    with pytest.raises(InvalidToolDeclaration, match=r"@tool\(needs=\['FINNHUB_BASE_URL'\]\)"):
        ring.restricted_to(["FINNHUB_API_KEY"]).setting("FINNHUB_BASE_URL")


async def test_two_tools_share_one_read_of_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def fetch(arn: str) -> str:
        read.append(arn)
        return "from the secret"

    monkeypatch.setattr(secrets, "_fetch", fetch)
    ring = KeyRing(Settings.of(finnhub_api_key_secret_arn=ARN).values())
    assert [await ring.restricted_to(["FINNHUB_API_KEY"]).key("FINNHUB_API_KEY") for _ in range(2)] == [
        "from the secret"
    ] * 2
    assert read == [ARN]
