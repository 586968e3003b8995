"""Request options: checked against the limits of the settings, with the settings as defaults."""

import msgspec
import pytest

from winterbourne.chat.core.messages import ChatRequest, Image, Message, SystemMessage, Text, ToolSchema, UserMessage
from winterbourne.chat.core.options import validate_options
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.settings import Settings

HELLO: tuple[Message, ...] = (UserMessage((Text("hello"),)),)
REQUEST = ChatRequest(messages=HELLO)
SERVER_TOOLS = (ToolSchema("get_weather", "", {"type": "object"}),)


def request_with(**options: object) -> ChatRequest:
    return msgspec.structs.replace(REQUEST, **options)


def test_what_the_request_leaves_out_comes_from_the_settings() -> None:
    settings = Settings.of(system_prompt="Be brief.", model_temperature=0.3, model_max_tokens=500)
    chat = validate_options(REQUEST, settings, SERVER_TOOLS)
    assert (chat.system, chat.temperature, chat.max_tokens) == ("Be brief.", 0.3, 500)


def test_without_settings_the_temperature_is_the_providers_own() -> None:
    assert validate_options(REQUEST, Settings(), SERVER_TOOLS).temperature is None


def test_the_requests_own_options_win_within_the_limits() -> None:
    chat = validate_options(
        request_with(temperature=0.0, max_tokens=10), Settings.of(model_temperature=1.0), SERVER_TOOLS
    )
    assert (chat.temperature, chat.max_tokens) == (0.0, 10)


def test_the_settings_instructions_come_before_the_requests() -> None:
    chat = validate_options(request_with(system="Speak Latin."), Settings.of(system_prompt="Be brief."), SERVER_TOOLS)
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
def test_a_value_beyond_its_limit_is_rejected_with_the_limit(options: dict[str, object], code: str, limit: str) -> None:
    with pytest.raises(RequestRejected, match=limit) as rejection:
        validate_options(
            request_with(**options), Settings.of(model_max_tokens=100, model_temperature_max=1.0), SERVER_TOOLS
        )
    assert (rejection.value.status, rejection.value.code) == (400, code)


@pytest.mark.parametrize("request_", [request_with(system="x"), request_with(messages=(SystemMessage("x"), *HELLO))])
def test_instructions_from_requests_can_be_forbidden(request_: ChatRequest) -> None:
    with pytest.raises(RequestRejected, match="accepts no instructions"):
        validate_options(request_, Settings.of(system_prompt_from_request=False), SERVER_TOOLS)


@pytest.mark.parametrize("choice", ["auto", "none", "required", "get_weather", "theirs"])
def test_a_tool_that_exists_may_be_chosen(choice: str) -> None:
    client_tool = ToolSchema("theirs", "", {"type": "object"})
    assert (
        validate_options(
            request_with(tool_choice=choice, client_tools=(client_tool,)), Settings(), SERVER_TOOLS
        ).tool_choice
        == choice
    )


def test_a_tool_that_does_not_exist_cannot_be_chosen() -> None:
    with pytest.raises(RequestRejected, match="get_wether") as rejection:
        validate_options(request_with(tool_choice="get_wether"), Settings(), SERVER_TOOLS)
    assert (rejection.value.status, rejection.value.code) == (400, "unknown_tool")


class TestImageUrl:
    REQUEST_WITH_URL = request_with(
        messages=(*HELLO, UserMessage((Text("this?"), Image("image/png", url="https://example.com/a.png"))))
    )

    def test_is_rejected_if_the_provider_takes_none(self) -> None:
        with pytest.raises(RequestRejected, match="as data") as raised:
            validate_options(self.REQUEST_WITH_URL, Settings(), SERVER_TOOLS, takes_image_urls=False)
        assert (raised.value.status, raised.value.code) == (400, "image_url_not_allowed")

    def test_is_accepted_if_the_provider_takes_one(self) -> None:
        assert (
            validate_options(self.REQUEST_WITH_URL, Settings(), SERVER_TOOLS, takes_image_urls=True).messages
            == self.REQUEST_WITH_URL.messages
        )

    def test_is_not_needed_for_an_image_sent_as_data(self) -> None:
        request = request_with(messages=(UserMessage((Image("image/png", data="aGk="),)),))
        assert validate_options(request, Settings(), SERVER_TOOLS, takes_image_urls=False).messages == request.messages
