"""Settings: read from the environment and validated once."""

import pytest

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.settings import Settings


def test_nothing_set_gives_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environment({"MAX_TURNS": ""}).max_turns == 10


def test_numbers_are_read_from_their_text() -> None:
    assert Settings.from_environment({"HTTP_TIMEOUT": "2.5", "MAX_TURNS": "3"}) == Settings(
        http_timeout=2.5, max_turns=3
    )


def test_foreign_variables_are_left_alone() -> None:
    assert Settings.from_environment({"PATH": "/bin", "max_turns": "x"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAX_TURNS", "many"), ("MAX_TURNS", "0"), ("AUTH", "oracle"), ("HTTP_TIMEOUT", "nan")],
)
def test_a_value_that_cannot_be_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: "):
        Settings.from_environment({name: value})


def test_every_secret_in_them_is_known_as_one() -> None:
    settings = Settings(
        openai_api_key="k1",
        anthropic_api_key="k2",
        aws_bearer_token_bedrock="k3",
        finnhub_api_key="k4",
        api_keys='{"nora":"k5","ci":["k6","k7"]}',
        mcp_tokens='{"pier":"k8"}',
        openai_base_url="https://user:k9@gateway.example.com/v1",
        mcp_servers="pier=https://pier.example.com/mcp?apiKey=k10",
        system_prompt="Be kind.",
    )
    assert {f"k{number}" for number in range(1, 11)} <= set(settings.secret_values())
    assert not list(Settings().secret_values())


def test_what_is_shown_of_them_has_no_secret() -> None:
    words = ("key", "keys", "token", "tokens", "password", "secret")
    numbers = {"model_max_tokens", "limit_tokens_per_day"}
    secrets = {
        name: "s3cr3t"
        for name in Settings.__struct_fields__
        if set(name.split("_")) & set(words) and not name.endswith("_arn") and name not in numbers
    }
    assert {"openai_api_key", "anthropic_api_key", "api_keys", "mcp_tokens"} <= secrets.keys()
    assert "aws_bearer_token_bedrock" in secrets
    shown = repr(Settings(max_turns=3, **secrets))  # type: ignore[arg-type]  # they are all text
    assert "s3cr3t" not in shown
    assert "max_turns=3" in shown
    assert "api_keys=…" in shown
