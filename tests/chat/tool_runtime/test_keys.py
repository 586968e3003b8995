"""Keys of tools: read from their environment variable or from a secret."""

import pytest

from winterbourne.chat.errors import InvalidToolDeclaration, SettingsError, ToolError
from winterbourne.chat.infra import redaction, secrets
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.keys import KeyRing

ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop"


def test_a_key_is_set_by_its_variable_or_by_its_secret() -> None:
    assert not KeyRing(Settings().values()).is_set("SHOP_API_KEY")
    assert KeyRing({"SHOP_API_KEY": "k"}).is_set("SHOP_API_KEY")
    assert KeyRing({"SHOP_API_KEY_SECRET_ARN": ARN}).is_set("SHOP_API_KEY")


async def test_a_key_is_kept_out_of_all_output_and_is_no_setting() -> None:
    keys = KeyRing({"SHOP_LOGIN": '{"user":"nora","pass":"made-up-word"}'}).restricted_to((), ["SHOP_LOGIN"])
    assert "made-up-word" in await keys.key("SHOP_LOGIN")
    assert redaction.redact("it is made-up-word") == "it is [redacted]"
    with pytest.raises(InvalidToolDeclaration, match=r"await context\.key\('SHOP_LOGIN'\)"):
        keys.setting("SHOP_LOGIN")


async def test_the_variable_is_read() -> None:
    assert await KeyRing({"SHOP_API_KEY": "k"}).restricted_to(["SHOP_API_KEY"]).key("SHOP_API_KEY") == "k"


async def test_the_secret_wins_and_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    async def fetch(arn: str) -> str:
        read.append(arn)
        return '{"api_key":"from the secret"}'

    monkeypatch.setattr(secrets, "_fetch", fetch)
    keys = KeyRing({"SHOP_API_KEY": "k", "SHOP_API_KEY_SECRET_ARN": ARN}).restricted_to(["SHOP_API_KEY"])
    assert [await keys.key("SHOP_API_KEY") for _ in range(2)] == ["from the secret"] * 2
    assert read == [ARN]


async def test_a_secret_that_cannot_be_read_is_reported_by_its_setting_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch(arn: str) -> str:
        raise RuntimeError(arn)

    monkeypatch.setattr(secrets, "_fetch", fetch)
    with pytest.raises(SettingsError, match=r"^SHOP_API_KEY_SECRET_ARN: the secret cannot be read: RuntimeError$"):
        await KeyRing({"SHOP_API_KEY_SECRET_ARN": ARN}).restricted_to(["SHOP_API_KEY"]).key("SHOP_API_KEY")


async def test_a_setting_without_a_value_is_empty() -> None:
    keys = KeyRing(Settings().values()).restricted_to(["MODEL_TEMPERATURE"])
    assert keys.setting("MODEL_TEMPERATURE") == ""
    with pytest.raises(ToolError, match="not set up yet"):
        await keys.key("MODEL_TEMPERATURE")


async def test_a_key_that_is_not_set_is_an_error() -> None:
    with pytest.raises(ToolError, match="not set up yet"):
        await KeyRing(Settings().values()).restricted_to(["SHOP_API_KEY"]).key("SHOP_API_KEY")


def test_a_tool_can_read_only_what_it_declares() -> None:
    ring = KeyRing({"SHOP_URL": "http://127.0.0.1:1", "SHOP_API_KEY": "k"})
    assert ring.restricted_to(["SHOP_URL"]).setting("SHOP_URL") == "http://127.0.0.1:1"
    with pytest.raises(InvalidToolDeclaration, match=r"@tool\(needs=\['SHOP_URL'\]\)"):
        ring.restricted_to((), ["SHOP_API_KEY"]).setting("SHOP_URL")


async def test_a_key_that_is_not_declared_cannot_be_read() -> None:
    with pytest.raises(InvalidToolDeclaration, match=r"@tool\(keys=\['SHOP_API_KEY'\]\)"):
        await KeyRing({"SHOP_API_KEY": "k"}).restricted_to(["SHOP_URL"]).key("SHOP_API_KEY")


async def test_two_tools_share_one_read_of_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    async def fetch(arn: str) -> str:
        read.append(arn)
        return "from the secret"

    monkeypatch.setattr(secrets, "_fetch", fetch)
    ring = KeyRing({"SHOP_API_KEY_SECRET_ARN": ARN})
    assert [await ring.restricted_to(["SHOP_API_KEY"]).key("SHOP_API_KEY") for _ in range(2)] == ["from the secret"] * 2
    assert read == [ARN]
