"""Options: the request's own within the limits of the settings, else the defaults of the settings."""

import msgspec
import pytest

from winterbourne.chat.core.messages import ChatRequest, Image, Message, SystemMessage, Text, ToolSchema, UserMessage
from winterbourne.chat.core.options import validate_options
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.settings import Settings

HELLO: tuple[Message, ...] = (UserMessage((Text("hello"),)),)
REQUEST = ChatRequest(messages=HELLO)
OURS = (ToolSchema("get_weather", "", {"type": "object"}),)


def asking(**options: object) -> ChatRequest:
    return msgspec.structs.replace(REQUEST, **options)


def test_what_the_request_leaves_out_comes_from_the_settings() -> None:
    settings = Settings(system_prompt="Be brief.", model_temperature=0.3, model_max_tokens=500)
    chat = validate_options(REQUEST, settings, OURS)
    assert (chat.system, chat.temperature, chat.max_tokens) == ("Be brief.", 0.3, 500)


def test_without_settings_the_temperature_is_the_providers_own() -> None:
    assert validate_options(REQUEST, Settings(), OURS).temperature is None


def test_the_requests_own_options_win_within_the_limits() -> None:
    chat = validate_options(asking(temperature=0.0, max_tokens=10), Settings(model_temperature=1.0), OURS)
    assert (chat.temperature, chat.max_tokens) == (0.0, 10)


def test_the_settings_instructions_stand_above_the_requests() -> None:
    chat = validate_options(asking(system="Speak Latin."), Settings(system_prompt="Be brief."), OURS)
    assert chat.system == "Be brief.\n\nSpeak Latin."


@pytest.mark.parametrize(
    ("options", "code", "limit"),
    [
        ({"max_tokens": 101}, "max_tokens_not_allowed", "100"),
        ({"max_tokens": 0}, "max_tokens_not_allowed", "100"),
        ({"temperature": 1.1}, "temperature_not_allowed", "1"),
        ({"temperature": -0.1}, "temperature_not_allowed", "1"),
        ({"temperature": float("nan")}, "temperature_not_allowed", "1"),
    ],
)
def test_beyond_a_limit_the_request_is_refused_and_told_the_limit(
    options: dict[str, object], code: str, limit: str
) -> None:
    with pytest.raises(RequestRejected, match=limit) as refusal:
        validate_options(asking(**options), Settings(model_max_tokens=100, model_temperature_max=1.0), OURS)
    assert (refusal.value.status, refusal.value.code) == (400, code)


@pytest.mark.parametrize("request_", [asking(system="x"), asking(messages=(SystemMessage("x"), *HELLO))])
def test_instructions_from_requests_can_be_forbidden(request_: ChatRequest) -> None:
    with pytest.raises(RequestRejected, match="accepts no instructions"):
        validate_options(request_, Settings(system_prompt_from_request=False), OURS)


@pytest.mark.parametrize("choice", ["auto", "none", "required", "get_weather", "theirs"])
def test_a_tool_that_is_there_may_be_chosen(choice: str) -> None:
    theirs = ToolSchema("theirs", "", {"type": "object"})
    assert validate_options(asking(tool_choice=choice, client_tools=(theirs,)), Settings(), OURS).tool_choice == choice


def test_a_tool_that_is_not_there_cannot_be_chosen() -> None:
    with pytest.raises(RequestRejected, match="get_wether") as refusal:
        validate_options(asking(tool_choice="get_wether"), Settings(), OURS)
    assert (refusal.value.status, refusal.value.code) == (400, "unknown_tool")


class TestAnImageByItsUrl:
    ASKED = asking(messages=(*HELLO, UserMessage((Text("this?"), Image("image/png", url="https://example.com/a.png")))))

    def test_is_refused_where_the_model_takes_none(self) -> None:
        with pytest.raises(RequestRejected, match="as data") as raised:
            validate_options(self.ASKED, Settings(), OURS, takes_image_urls=False)
        assert (raised.value.status, raised.value.code) == (400, "image_url_not_allowed")

    def test_is_taken_where_the_model_takes_it(self) -> None:
        assert validate_options(self.ASKED, Settings(), OURS, takes_image_urls=True).messages == self.ASKED.messages

    def test_is_none_where_it_comes_as_data(self) -> None:
        asked = asking(messages=(UserMessage((Image("image/png", data="aGk="),)),))
        assert validate_options(asked, Settings(), OURS, takes_image_urls=False).messages == asked.messages
