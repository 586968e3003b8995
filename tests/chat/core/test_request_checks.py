"""Checks of a request: its history, its limits, its options with the settings as defaults, and the choice of model."""

import msgspec
import pytest

from tests.chat.formats.wire import attempt
from winterbourne.chat.core.capabilities import Capabilities
from winterbourne.chat.core.history import INTERRUPTED_CALL_RESULT
from winterbourne.chat.core.messages import (
    Approval,
    AssistantMessage,
    ChatRequest,
    Decision,
    Document,
    Image,
    Message,
    OutputSchema,
    SystemMessage,
    Text,
    ToolCall,
    ToolMessage,
    ToolSchema,
    UnusablePart,
    UserMessage,
)
from winterbourne.chat.core.request_checks import available_models, check_request
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.settings import Settings

HI = UserMessage((Text("Hi"),), "u1")
CALL = AssistantMessage((ToolCall("c1", "x", "{}"),), "a1")
CALL_WITH_RESULT = (CALL, ToolMessage("c1", "x", "1"))
HELLO: tuple[Message, ...] = (UserMessage((Text("hello"),)),)
REQUEST = ChatRequest(messages=HELLO)
SETTINGS = Settings()
SERVER_TOOLS = (ToolSchema("get_weather", "", {"type": "object"}),)


def check(request: ChatRequest, settings: Settings = SETTINGS, *, takes_image_urls: bool = True) -> ChatRequest:
    capabilities = Capabilities(image_urls=takes_image_urls)
    return check_request(request, settings.request, settings.model, SERVER_TOOLS, lambda _: capabilities)


def rejection(request: ChatRequest, settings: Settings = SETTINGS) -> tuple[int, str]:
    outcome = attempt(lambda: check(request, settings))
    assert isinstance(outcome, RequestRejected)
    return outcome.status, outcome.code


def request_with(**options: object) -> ChatRequest:
    return msgspec.structs.replace(REQUEST, **options)


def test_what_the_request_leaves_out_comes_from_the_settings() -> None:
    settings = Settings.of(system_prompt="Be brief.", model_temperature=0.3, model_max_tokens=500)
    chat = check(REQUEST, settings)
    assert (chat.system, chat.temperature, chat.max_tokens) == ("Be brief.", 0.3, 500)


def test_without_settings_the_temperature_is_the_providers_own() -> None:
    assert check(REQUEST).temperature is None


def test_the_requests_own_options_win_within_the_limits() -> None:
    chat = check(request_with(temperature=0.0, max_tokens=10), Settings.of(model_temperature=1.0))
    assert (chat.temperature, chat.max_tokens) == (0.0, 10)


def test_the_settings_instructions_come_before_the_requests() -> None:
    chat = check(request_with(system="Speak Latin."), Settings.of(system_prompt="Be brief."))
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
        check(request_with(**options), Settings.of(model_max_tokens=100, model_temperature_max=1.0))
    assert (rejection.value.status, rejection.value.code) == (400, code)


class TestOptions:
    def check(self, capabilities: Capabilities, **options: object) -> ChatRequest:
        return check_request(
            request_with(**options),
            SETTINGS.request,
            SETTINGS.model,
            (),
            lambda _: capabilities,
            field_of=lambda name: f"their {name}",
        )

    @pytest.mark.parametrize(
        ("name", "value", "code"),
        [("max_tokens", 0, "max_tokens_not_allowed"), ("temperature", 1.2, "temperature_not_allowed")],
    )
    def test_beyond_what_is_allowed_are_rejected_by_their_names(self, name: str, value: float, code: str) -> None:
        with pytest.raises(RequestRejected, match=f"their {name}: from [01] to ") as raised:
            self.check(Capabilities(max_temperature=1.0), **{name: value})
        assert (raised.value.status, raised.value.code) == (400, code)

    def test_a_model_may_take_no_blank_text_to_stop_at(self) -> None:
        stops = frozenset({"stop"})
        assert self.check(Capabilities(options=stops), stop=("\n",)).stop == ("\n",)
        with pytest.raises(RequestRejected, match=r"their stop: .*blank") as raised:
            self.check(Capabilities(options=stops, blank_stop=False), stop=("END", "\n"))
        assert (raised.value.status, raised.value.code) == (400, "unsupported_parameter")
        assert self.check(Capabilities(options=stops, blank_stop=False), stop=("END",)).stop == ("END",)

    def test_a_model_may_take_a_temperature_or_top_p(self) -> None:
        one = Capabilities(options=frozenset({"temperature", "top_p"}), one_sampler=True)
        with pytest.raises(RequestRejected, match=r"their top_p: .*their temperature") as raised:
            self.check(one, temperature=0.5, top_p=0.5)
        assert (raised.value.status, raised.value.code) == (400, "unsupported_parameter")
        for temperature, top_p, taken in ((0.5, 1.0, (0.5, None)), (1.0, 0.5, (None, 0.5)), (1.0, 1.0, (None, 1.0))):
            chat = self.check(one, temperature=temperature, top_p=top_p)
            assert (chat.temperature, chat.top_p) == taken
        settings = Settings.of(model_temperature=0.3)
        request = request_with(top_p=0.5)
        assert check_request(request, settings.request, settings.model, (), lambda _: one).temperature is None

    @pytest.mark.parametrize("name", ["top_p", "stop", "seed", "presence_penalty", "frequency_penalty"])
    def test_that_the_model_does_not_have_are_rejected_by_their_names(self, name: str) -> None:
        with pytest.raises(RequestRejected, match=f"their {name}: ") as raised:
            self.check(Capabilities(), **{name: 0.5})
        assert (raised.value.status, raised.value.code) == (400, "unsupported_parameter")

    def test_that_it_has_are_passed_on(self) -> None:
        assert self.check(Capabilities(options=frozenset({"stop", "max_tokens"})), stop=("a",)).stop == ("a",)

    def test_that_ask_for_what_the_model_does_anyway_are_passed_over(self) -> None:
        nothing = {"temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
        assert self.check(Capabilities(options=frozenset({"max_tokens"})), **nothing) == self.check(Capabilities())

    def test_of_the_settings_that_the_model_does_not_have_are_left_out(self) -> None:
        capabilities, settings = Capabilities(options=frozenset({"max_tokens"})), Settings.of(model_temperature=0.5)
        chat = check_request(REQUEST, settings.request, settings.model, (), lambda _: capabilities)
        assert chat.temperature is None

    def test_one_call_a_turn_is_kept_for_every_model(self) -> None:
        assert self.check(Capabilities(), parallel_tool_calls=False).parallel_tool_calls is False

    def test_a_schema_that_is_none_is_rejected_before_the_model_is_asked(self) -> None:
        with pytest.raises(RequestRejected, match="their output: ") as raised:
            self.check(Capabilities(schema=True), output=OutputSchema(schema={"type": "text"}))
        assert (raised.value.status, raised.value.code) == (400, "invalid_schema")

    def test_a_model_that_cannot_be_constrained_is_told_the_schema(self) -> None:
        output = OutputSchema(schema={"type": "object"})
        assert '{"type": "object"}' in (self.check(Capabilities(), output=output).system or "")
        assert self.check(Capabilities(schema=True), output=output).system == ""


@pytest.mark.parametrize("request_", [request_with(system="x"), request_with(messages=(SystemMessage("x"), *HELLO))])
def test_instructions_from_requests_can_be_forbidden(request_: ChatRequest) -> None:
    with pytest.raises(RequestRejected, match="accepts no instructions"):
        check(request_, Settings.of(system_prompt_from_request=False))


@pytest.mark.parametrize("choice", ["auto", "none", "required", "get_weather", "theirs"])
def test_a_tool_that_exists_may_be_chosen(choice: str) -> None:
    client_tool = ToolSchema("theirs", "", {"type": "object"})
    assert check(request_with(tool_choice=choice, client_tools=(client_tool,)), Settings()).tool_choice == choice


def test_a_tool_that_does_not_exist_cannot_be_chosen() -> None:
    with pytest.raises(RequestRejected, match="get_wether") as rejection:
        check(request_with(tool_choice="get_wether"), Settings())
    assert (rejection.value.status, rejection.value.code) == (400, "unknown_tool")


@pytest.mark.parametrize("choice", ["required", "get_weather"])
def test_a_call_cannot_be_demanded_where_none_can_be_made(choice: str) -> None:
    def demand(capabilities: Capabilities, *tools: ToolSchema) -> ChatRequest:
        request = request_with(tool_choice=choice)
        return check_request(request, SETTINGS.request, SETTINGS.model, tools, lambda _: capabilities)

    assert demand(Capabilities(), *SERVER_TOOLS).tool_choice == choice
    for tools, capabilities in (((), Capabilities()), (SERVER_TOOLS, Capabilities(tools=False))):
        with pytest.raises(RequestRejected, match=r"^tool_choice: ") as raised:
            demand(capabilities, *tools)
        assert (raised.value.status, raised.value.code) == (400, "unknown_tool")


class TestReasoning:
    @staticmethod
    def level(capabilities: Capabilities, settings: Settings = SETTINGS, **options: object) -> str | None:
        request = request_with(**options)
        return check_request(request, settings.request, settings.model, (), lambda _: capabilities).reasoning

    def test_is_the_requests_else_the_settings_else_the_models_own(self) -> None:
        thinks, settings = Capabilities(reasoning=("low", "high")), Settings.of(model_reasoning="medium")
        assert self.level(thinks) is None
        assert self.level(thinks, settings) == "medium"
        assert self.level(thinks, settings, reasoning="none") == "none"
        assert self.level(thinks, settings, reasoning="max") == "max"

    def test_of_a_model_that_cannot_think_is_none_or_rejected(self) -> None:
        plain = Capabilities(reasoning=())
        assert self.level(plain, reasoning="none") == "none"
        assert self.level(plain, Settings.of(model_reasoning="high")) == "high"  # the provider leaves it out
        with pytest.raises(RequestRejected, match=r"^reasoning: ") as raised:
            self.level(plain, reasoning="minimal")
        assert (raised.value.status, raised.value.code) == (400, "unsupported_parameter")

    def test_is_passed_on_where_nobody_knows(self) -> None:
        assert self.level(Capabilities(reasoning=None), reasoning="max") == "max"

    def test_an_option_that_the_model_does_not_take_while_it_thinks_is_rejected_by_its_name(self) -> None:
        thinks = Capabilities(reasoning=("low",), not_while_thinking=frozenset({"temperature"}))
        assert self.level(thinks, reasoning="none", temperature=0.5) == "none"
        assert self.level(thinks, Settings.of(model_temperature=0.5), reasoning="low") == "low"
        with pytest.raises(RequestRejected, match=r"^temperature: ") as raised:
            self.level(thinks, reasoning="low", temperature=0.5)
        assert raised.value.code == "unsupported_parameter"
        assert self.level(thinks, reasoning="low", temperature=1) == "low"  # what it does anyway

    def test_so_it_is_if_the_model_thinks_without_being_asked_by_the_request(self) -> None:
        by_itself = Capabilities(reasoning=None, thinks=True, not_while_thinking=frozenset({"top_p"}))
        asked = Capabilities(reasoning=("low",), not_while_thinking=frozenset({"temperature"}))
        cannot = Capabilities(reasoning=(), not_while_thinking=frozenset({"temperature"}))
        with pytest.raises(RequestRejected, match=r"^temperature: "):
            self.level(asked, Settings.of(model_reasoning="low"), temperature=0.5)
        options = by_itself.options | {"top_p"}
        by_itself = msgspec.structs.replace(by_itself, options=options)
        with pytest.raises(RequestRejected, match=r"^top_p: "):
            self.level(by_itself, top_p=0.5)
        assert self.level(by_itself, reasoning="none", top_p=0.5) == "none"
        assert self.level(asked, temperature=0.5) is None
        assert self.level(cannot, Settings.of(model_reasoning="low"), temperature=0.5) == "low"

    @pytest.mark.parametrize(("is_default", "setting"), [(True, ""), (False, "low"), (True, "low")])
    def test_so_it_is_where_nobody_asks_it_to_think(self, is_default: bool, setting: str) -> None:  # noqa: FBT001 - a parameter
        refused = frozenset({"temperature"})
        thinks = Capabilities(reasoning=("low",), not_while_thinking=refused, thinks=is_default)
        settings = Settings.of(model_reasoning=setting)
        with pytest.raises(RequestRejected, match=r"^temperature: .*thinks"):
            self.level(thinks, settings, temperature=0.5)
        assert self.level(thinks, settings, temperature=0.5, reasoning="none") == "none"
        assert self.level(Capabilities(not_while_thinking=refused), settings, temperature=0.5) == (setting or None)


class TestImageUrl:
    REQUEST_WITH_URL = request_with(
        messages=(*HELLO, UserMessage((Text("this?"), Image("image/png", url="https://example.com/a.png"))))
    )

    def test_is_rejected_if_the_provider_takes_none(self) -> None:
        with pytest.raises(RequestRejected, match="as data") as raised:
            check(self.REQUEST_WITH_URL, Settings(), takes_image_urls=False)
        assert (raised.value.status, raised.value.code) == (400, "image_url_not_allowed")

    def test_is_accepted_if_the_provider_takes_one(self) -> None:
        assert (
            check(self.REQUEST_WITH_URL, Settings(), takes_image_urls=True).messages == self.REQUEST_WITH_URL.messages
        )

    def test_is_not_needed_for_an_image_sent_as_data(self) -> None:
        request = request_with(messages=(UserMessage((Image("image/png", data="aGk="),)),))
        assert check(request, Settings(), takes_image_urls=False).messages == request.messages

    def test_in_an_older_message_is_a_line_if_the_provider_takes_none(self) -> None:
        messages = (*self.REQUEST_WITH_URL.messages, HI)
        checked = check(ChatRequest(messages=messages), takes_image_urls=False).messages
        assert checked[1] == UserMessage((Text("this?"), Text("[an image that cannot be shown to this model]")))


class TestHistory:
    def test_that_is_carried_is_normalized(self) -> None:
        interrupted = ToolMessage("c1", "x", INTERRUPTED_CALL_RESULT, is_error=True)
        assert check(ChatRequest(messages=(HI, CALL))).messages == (HI, CALL, interrupted)

    def test_that_is_stored_is_left_to_the_store(self) -> None:
        result = ToolMessage("c1", "", "{}")
        assert check(ChatRequest(messages=(result,), store=True)).messages == (result,)

    def test_of_two_messages_of_one_id_the_last_counts(self) -> None:
        assert check(ChatRequest(messages=(HI, HI))).messages == (HI,)

    def test_all_turns_of_one_answer_share_one_id(self) -> None:
        messages = (HI, *CALL_WITH_RESULT, AssistantMessage((Text("done"),), "a1"))
        assert check(ChatRequest(messages=messages)).messages == messages

    def test_messages_without_ids_are_not_duplicates(self) -> None:
        messages = (UserMessage((Text("a"),)), UserMessage((Text("b"),)))
        assert check(ChatRequest(messages=messages)).messages == messages


class TestLimits:
    def test_turns_without_content_do_not_count(self) -> None:
        assert check(ChatRequest(messages=(AssistantMessage(()), HI)), Settings.of(max_messages=1)).messages == (HI,)

    @pytest.mark.parametrize(
        ("settings", "messages", "code"),
        [
            (Settings.of(max_messages=1), (HI, SystemMessage("x")), "too_many_messages"),
            (Settings.of(max_message_chars=1), (HI,), "message_too_long"),
            (Settings.of(max_message_chars=1), (SystemMessage("Hi"),), "message_too_long"),
            (Settings.of(max_message_chars=50), (CALL, ToolMessage("c1", "x", "x" * 51)), "message_too_long"),
            (
                Settings.of(max_message_chars=50),
                (AssistantMessage((ToolCall("c1", "x", "x" * 51),)),),
                "message_too_long",
            ),
            (Settings.of(max_images=1), (UserMessage((Image("image/png", "aGk="),) * 2),), "too_many_images"),
            (Settings(), (UserMessage((Document("text/csv", data="YSxi"),) * 6),), "too_many_documents"),
        ],
    )
    def test_more_than_a_limit_is_rejected_as_too_large(
        self, settings: Settings, messages: tuple[Message, ...], code: str
    ) -> None:
        assert rejection(ChatRequest(messages=messages), settings) == (413, code)

    def test_instructions_have_the_length_limit_of_a_message(self) -> None:
        with pytest.raises(RequestRejected, match="2 at most"):
            check(ChatRequest(messages=(HI,), system="Be!"), Settings.of(max_message_chars=2))

    def test_exactly_the_limit_is_accepted(self) -> None:
        chat = ChatRequest(messages=(HI,))
        assert check(chat, Settings.of(max_messages=1, max_message_chars=2)).messages == (HI,)

    def test_a_request_with_nothing_to_answer_is_rejected(self) -> None:
        assert rejection(ChatRequest(messages=())) == (400, "no_messages")
        assert rejection(ChatRequest(messages=(AssistantMessage(()),))) == (400, "no_messages")

    @pytest.mark.parametrize("parts", [(), (Text(""),), (Text(" \n\u3000"), Text("\t"))])
    @pytest.mark.parametrize("store", [False, True])
    def test_a_blank_question_is_rejected(self, parts: tuple[Text, ...], *, store: bool) -> None:
        assert rejection(ChatRequest(messages=(HI, UserMessage(parts)), store=store)) == (400, "empty_message")

    def test_a_blank_question_that_was_answered_is_left_out(self) -> None:
        messages = (UserMessage((Text(" "),)), AssistantMessage((Text("Yes?"),)), HI)
        assert check(ChatRequest(messages=messages)).messages == messages[1:]

    def test_an_unusable_part_is_rejected_in_the_newest_message_and_a_line_in_older_ones(self) -> None:
        message = UserMessage((UnusablePart("[a PDF]", "messages: no PDF"),))
        assert rejection(ChatRequest(messages=(HI, message))) == (400, "unsupported_media")
        for store in (False, True):
            older = check(ChatRequest(messages=(message, HI), store=store)).messages[0]
            assert older == UserMessage((Text("[a PDF]"),))

    def test_a_document_is_rejected_by_its_type_if_the_model_takes_none_of_it(self) -> None:
        pdf, text = Document("application/pdf", data="aGk="), Document("text/csv", data="YSxi")
        outcome = attempt(lambda: check(ChatRequest(messages=(HI, UserMessage((pdf,))))))
        assert isinstance(outcome, RequestRejected)
        assert (outcome.status, outcome.code) == (400, "unsupported_media")
        assert str(outcome) == "messages: this model takes no documents of type application/pdf"
        assert check(ChatRequest(messages=(UserMessage((text,)),))).messages == (UserMessage((text,)),)
        assert check(ChatRequest(messages=(UserMessage((pdf,), "u0"), HI))).messages[0] == UserMessage((pdf,), "u0")

    def test_a_document_by_its_url_is_rejected_if_the_model_takes_data_only(self) -> None:
        question = ChatRequest(messages=(UserMessage((Document("application/pdf", url="https://a"),)),))
        takes_data = Capabilities(documents=frozenset({"application/pdf"}))
        settings = Settings()
        for capabilities, code in ((takes_data, "document_url_not_allowed"), (Capabilities(), "unsupported_media")):
            with pytest.raises(RequestRejected) as raised:
                check_request(question, settings.request, settings.model, (), {"": capabilities}.__getitem__)
            assert (raised.value.status, raised.value.code) == (400, code)

    def test_one_that_is_too_large_is_rejected_as_such(self) -> None:
        question, settings = UserMessage((Document("application/pdf", data="a" * 16),)), Settings()

        def checked(size: int) -> ChatRequest:
            takes = Capabilities(documents=frozenset({"application/pdf"}), document_bytes=size)
            request = ChatRequest(messages=(question,))
            return check_request(request, settings.request, settings.model, (), lambda _: takes)

        assert checked(12).messages == checked(0).messages == (question,)
        with pytest.raises(RequestRejected, match="documents of 11 bytes") as raised:
            checked(11)
        assert (raised.value.status, raised.value.code) == (413, "document_too_large")

    def test_an_image_is_rejected_if_the_model_takes_none_and_a_line_in_older_messages(self) -> None:
        settings, image = Settings(), UserMessage((Image("image/png", "aGk="),), "u0")

        def checked(*messages: Message) -> ChatRequest:
            blind = Capabilities(images=False)
            return check_request(ChatRequest(messages=messages), settings.request, settings.model, (), lambda _: blind)

        with pytest.raises(RequestRejected, match="no images"):
            checked(HI, image)
        assert isinstance(checked(image, HI).messages[0], UserMessage)
        assert checked(image, HI).messages[0] == UserMessage(
            (Text("[an older image that is not shown any more]"),), "u0"
        )

    def test_older_documents_beyond_the_limit_become_a_line(self) -> None:
        document, image = Document("text/csv", data="YSxi"), Image("image/png", "aGk=")
        messages = tuple(UserMessage((Text(str(n)), document, image), f"u{n}") for n in range(3))
        checked = check(ChatRequest(messages=messages), Settings.of(max_documents=2)).messages
        assert checked[1:] == messages[1:]
        line = Text("[an older document that is not shown any more]")
        assert checked[0] == UserMessage((Text("0"), line, image), "u0")

    def test_older_images_beyond_the_limit_become_a_line(self) -> None:
        image = Image("image/png", "aGk=")
        messages = tuple(UserMessage((Text(str(n)), image), f"u{n}") for n in range(3))
        checked = check(ChatRequest(messages=messages), Settings.of(max_images=2)).messages
        assert checked[1:] == messages[1:]
        assert checked[0] == UserMessage((Text("0"), Text("[an older image that is not shown any more]")), "u0")

    def test_older_images_go_in_batches_so_that_most_questions_change_no_older_message(self) -> None:
        image = Image("image/png", "aGk=")
        messages = [UserMessage((Text(str(n)), image), f"u{n}") for n in range(12)]
        shown = []
        for count in range(1, 13):
            checked = check(ChatRequest(messages=tuple(messages[:count])), Settings.of(max_images=6)).messages
            shown.append(sum(image in message.parts for message in checked if isinstance(message, UserMessage)))
        assert shown == [1, 2, 3, 4, 5, 6, 4, 5, 6, 4, 5, 6]

    def test_the_context_is_as_long_as_a_message_at_most(self) -> None:
        request = ChatRequest(messages=(HI,), context="x" * 9)
        assert check(request, Settings.of(max_message_chars=9)).context == "x" * 9
        assert rejection(request, Settings.of(max_message_chars=8)) == (413, "message_too_long")

    def test_client_tools_are_limited_in_number_and_have_unique_names(self) -> None:
        tools = tuple(ToolSchema(name, "", {}) for name in ("a", "b", "b"))
        assert rejection(ChatRequest(messages=(HI,), client_tools=tools), Settings.of(max_client_tools=2)) == (
            413,
            "too_many_tools",
        )
        assert rejection(ChatRequest(messages=(HI,), client_tools=tools)) == (400, "duplicate_id")

    def test_decisions_are_limited_in_number_and_need_a_call_that_waits(self) -> None:
        decisions = tuple(Decision(approval_id=str(number), approved=True) for number in range(3))
        asked = AssistantMessage((ToolCall("c", "pay", "{}", approval=Approval("1", 9)),))
        assert check(ChatRequest(messages=(HI, asked), decisions=decisions)).decisions == decisions
        request = ChatRequest(messages=(HI, asked), decisions=decisions)
        assert rejection(request, Settings.of(max_messages=2)) == (413, "too_many_messages")
        assert rejection(msgspec.structs.replace(request, store=True, messages=()), Settings.of(max_messages=2)) == (
            413,
            "too_many_decisions",
        )
        assert rejection(ChatRequest(messages=(HI,), decisions=decisions)) == (409, "not_pending")

    def test_a_client_tool_that_no_provider_takes_is_left_out(self, caplog: pytest.LogCaptureFixture) -> None:
        schema: dict[str, object] = {"type": "object", "properties": {"a b": {}}, "required": ["a b"]}
        tools = (ToolSchema("bad", "", schema), ToolSchema("good", "", {}))
        assert [tool.name for tool in check(ChatRequest(messages=(HI,), client_tools=tools)).client_tools] == ["good"]
        assert "bad is not offered" in caplog.text


class TestModelChoice:
    SETTINGS = Settings.of(model_id="big", model_choices=" small ,tiny,,big")

    def test_the_default_comes_first_and_each_once(self) -> None:
        assert available_models(self.SETTINGS.model) == ("big", "small", "tiny")

    def test_a_default_without_a_model_id_has_its_providers_name(self) -> None:
        assert available_models(Settings.of(model_provider="bedrock").model) == ("bedrock",)

    @pytest.mark.parametrize(("requested", "resolved"), [(None, None), ("", None), ("big", None), ("tiny", "tiny")])
    def test_the_default_is_left_to_the_provider(self, requested: str | None, resolved: str | None) -> None:
        assert check(request_with(model_id=requested), self.SETTINGS).model_id == resolved

    def test_a_model_that_is_not_available_is_not_found(self) -> None:
        with pytest.raises(RequestRejected, match="'huge' is not one of big, small, tiny") as raised:
            check(request_with(model_id="huge"), self.SETTINGS)
        assert (raised.value.status, raised.value.code) == (404, "model_not_found")


def test_a_question_that_is_in_the_store_need_not_be_sent_again() -> None:
    assert check(request_with(messages=(), store=True, regenerate=True)).messages == ()


@pytest.mark.parametrize("options", [{}, {"store": True}, {"regenerate": True}])
def test_any_other_needs_at_least_one(options: dict[str, bool]) -> None:
    assert rejection(request_with(messages=(), **options)) == (400, "no_messages")
