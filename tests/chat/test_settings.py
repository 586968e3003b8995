"""Settings: read from the environment and validated once."""

import pytest

from winterbourne.chat.errors import SettingsError
from winterbourne.chat.settings import VARIABLES, Settings


def test_nothing_set_gives_the_defaults() -> None:
    assert Settings.from_environment({}) == Settings()


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environment({"MAX_TURNS": ""}).stream.max_turns == 10


def test_numbers_are_parsed_from_text() -> None:
    assert Settings.from_environment({"HTTP_TIMEOUT": "2.5", "MAX_TURNS": "3"}) == Settings.of(
        http_timeout=2.5, max_turns=3
    )


def test_unknown_variables_are_ignored() -> None:
    assert Settings.from_environment({"PATH": "/bin", "max_turns": "x"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("MAX_TURNS", "many"), ("MAX_TURNS", "0"), ("HTTP_TIMEOUT", "nan")],
)
def test_the_error_for_an_invalid_value_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: "):
        Settings.from_environment({name: value})


def test_the_error_for_a_word_that_is_none_of_a_few_names_them() -> None:
    with pytest.raises(SettingsError, match=r"^MODEL_CACHE: expected one of auto, off, 1h$"):
        Settings.from_environment({"MODEL_CACHE": "2h"})
    with pytest.raises(
        SettingsError, match=r"^MODEL_REASONING: expected one of none, minimal, low, medium, high, max$"
    ):
        Settings.from_environment({"MODEL_REASONING": "huge"})


def test_every_secret_in_the_settings_is_found() -> None:
    settings = Settings.of(
        openai_api_key="k1",
        anthropic_api_key="k2",
        aws_bearer_token_bedrock="k3",
        api_keys='{"nora":"k5","ci":["k6","k7"]}',
        mcp_tokens='{"pier":"k8"}',
        openai_base_url="https://user:k9@gateway.example.com/v1",
        mcp_servers="pier=https://pier.example.com/mcp?apiKey=k10",
        system_prompt="Be kind.",
    )
    assert {f"k{number}" for number in (1, 2, 3, 5, 6, 7, 8, 9, 10)} <= set(settings.secret_values())
    assert not list(Settings().secret_values())


def test_the_repr_shows_no_secret() -> None:
    secret_words = ("key", "keys", "token", "tokens", "password", "secret")
    not_secret = {"model_max_tokens", "limit_tokens_per_day"}
    secrets = {
        name: "s3cr3t"
        for name in map(str.lower, VARIABLES)
        if set(name.split("_")) & set(secret_words) and not name.endswith("_arn") and name not in not_secret
    }
    assert {"openai_api_key", "anthropic_api_key", "api_keys", "mcp_tokens"} <= secrets.keys()
    assert "aws_bearer_token_bedrock" in secrets
    shown = repr(Settings.of(max_turns=3, **secrets))
    assert "s3cr3t" not in shown
    assert "max_turns=3" in shown
    assert "api_keys=…" in shown
