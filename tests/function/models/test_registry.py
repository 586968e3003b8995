"""One table of providers; nobody pays for those that were not chosen."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import chat
from chat.errors import ChatError
from chat.models.registry import PROVIDERS, make_model
from chat.settings import Settings

GIVEN = {"openai_api_key": "k", "anthropic_api_key": "k", "aws_region": "eu-west-1"}


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_model_is_named_as_its_setting(name: str) -> None:
    assert make_model(Settings(model_provider=name, **GIVEN)).name == name  # type: ignore[arg-type]


def test_every_provider_the_settings_know_is_in_the_table() -> None:
    kinds = get_type_hints(Settings)["model_provider"].__args__
    assert set(PROVIDERS) == set(kinds)


@pytest.mark.parametrize(
    ("provider", "spared"),
    [
        ("scripted", "httpx botocore boto3 tenacity chat.models.openai"),
        ("openai", "botocore boto3 tenacity chat.models.anthropic"),
        ("anthropic", "botocore boto3 tenacity chat.models.openai"),
        ("bedrock", "boto3 tenacity botocore.session chat.models.openai"),
    ],
)
def test_only_what_is_chosen_is_imported(provider: str, spared: str) -> None:
    check = f"""
import sys
from chat.models.registry import make_model
from chat.settings import Settings
make_model(Settings(model_provider={provider!r}, **{GIVEN!r}))
print(*(name for name in {spared.split()!r} if name in sys.modules))
"""
    environ = {**os.environ, "PYTHONPATH": str(Path(chat.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", check], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("provider", "named"),
    [("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY"), ("bedrock", "BEDROCK_REGION")],
)
def test_what_a_provider_cannot_do_without_is_told_at_init(provider: str, named: str) -> None:
    with pytest.raises(ChatError, match=f"^{named}: "):
        make_model(Settings(model_provider=provider))  # type: ignore[arg-type]
