"""Provider factory: makes the selected provider, imports no other, and checks its settings at init."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import winterbourne
from winterbourne.chat.core.provider import Provider
from winterbourne.chat.errors import ChatError, SettingsError
from winterbourne.chat.providers.factory import PROVIDERS, make_provider
from winterbourne.chat.providers.scripted import ScriptedProvider
from winterbourne.chat.settings import ModelSettings, Settings

PROVIDER_SETTINGS = {"openai_api_key": "k", "anthropic_api_key": "k", "aws_region": "eu-west-1"}


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_has_the_name_of_its_setting(name: str) -> None:
    assert make_provider(Settings.of(model_provider=name, **PROVIDER_SETTINGS).model).name == name


def test_all_but_bedrock_fetch_an_image_by_its_url() -> None:
    providers = [make_provider(Settings.of(model_provider=name, **PROVIDER_SETTINGS).model) for name in PROVIDERS]
    assert [provider.name for provider in providers if not provider.takes_image_urls] == ["bedrock"]


def test_an_unknown_provider_is_an_init_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ChatError, match=r"^MODEL_PROVIDER: expected one of scripted, openai, anthropic, bedrock$"):
        make_provider(Settings.of(model_provider="oracle").model)


def test_a_provider_of_ones_own_is_chosen_by_its_name() -> None:
    settings = Settings.of(model_provider="more", model_id="big").model
    asked: list[ModelSettings] = []
    provider = ScriptedProvider()

    def make(settings: ModelSettings) -> Provider:
        asked.append(settings)
        return provider

    assert make_provider(settings, {"more": make}) is provider
    assert asked == [settings]
    with pytest.raises(SettingsError, match=r"^MODEL_PROVIDER: expected one of .*, bedrock, more$"):
        make_provider(Settings.of(model_provider="less").model, {"more": make})


def test_a_provider_of_ones_own_may_replace_one_of_the_engines() -> None:
    own = ScriptedProvider()
    assert make_provider(Settings.of(model_provider="openai").model, {"openai": lambda _: own}) is own


@pytest.mark.parametrize(
    ("provider", "not_imported"),
    [
        ("scripted", "httpx botocore boto3 winterbourne.chat.providers.openai"),
        ("openai", "botocore boto3 winterbourne.chat.providers.anthropic"),
        ("anthropic", "botocore boto3 winterbourne.chat.providers.openai"),
        ("bedrock", "boto3 botocore.auth botocore.eventstream winterbourne.chat.providers.openai"),
    ],
)
def test_only_the_selected_provider_is_imported(provider: str, not_imported: str) -> None:
    check = f"""
import sys
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.providers.scripted import ScriptedProvider
from winterbourne.chat.settings import ModelSettings, Settings
make_provider(Settings.of(model_provider={provider!r}, **{PROVIDER_SETTINGS!r}).model)
print(*(name for name in {not_imported.split()!r} if name in sys.modules))
"""
    environ = {**os.environ, "PYTHONPATH": str(Path(winterbourne.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", check], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("provider", "named"),
    [("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY"), ("bedrock", "BEDROCK_REGION")],
)
def test_a_missing_required_setting_is_an_init_error(provider: str, named: str) -> None:
    with pytest.raises(ChatError, match=f"^{named}: "):
        make_provider(Settings.of(model_provider=provider).model)
