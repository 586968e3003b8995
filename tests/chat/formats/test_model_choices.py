"""Model choices: the allowlist of models that a caller may choose from."""

import pytest

from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats.model_choices import available_models, resolve_model
from winterbourne.chat.settings import Settings

SETTINGS = Settings.of(model_id="big", model_choices=" small ,tiny,,big")


def test_the_default_comes_first_and_each_once() -> None:
    assert available_models(SETTINGS) == ("big", "small", "tiny")


def test_a_default_without_a_model_id_has_its_providers_name() -> None:
    assert available_models(Settings.of(model_provider="bedrock")) == ("bedrock",)


@pytest.mark.parametrize(("requested", "resolved"), [(None, None), ("", None), ("big", None), ("tiny", "tiny")])
def test_the_default_is_left_to_the_provider(requested: str | None, resolved: str | None) -> None:
    assert resolve_model(requested, SETTINGS) == resolved


def test_a_model_that_is_not_available_is_not_found() -> None:
    with pytest.raises(RequestRejected, match="'huge' is not one of big, small, tiny") as raised:
        resolve_model("huge", SETTINGS)
    assert (raised.value.status, raised.value.code) == (404, "model_not_found")
