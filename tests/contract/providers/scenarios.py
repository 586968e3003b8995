"""Conversations as they happen: each is told once, in the words of `Talk`, for every client and every provider."""

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tests.contract.providers.clients import MEASURE, Talk, odd_tool
from tests.contract.providers.fake import Answer

__all__ = ["NEEDS_CLIENT_TOOLS", "NEEDS_IMAGES", "NEEDS_TOOLS", "SCENARIOS", "Scenario"]

Scenario = Callable[[Talk], Awaitable[None]]

PDF = ("plan_of.the harbour.pdf", "application/pdf", base64.b64encode(b"%PDF-1.7\n").decode())
OFFICE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
DOCX = ("letter.docx", OFFICE, base64.b64encode(b"PK\x03\x04").decode())
CSV = base64.b64encode(b"at,height\n6,4.2\n").decode()
JSON = base64.b64encode(b'{"a":1}').decode()
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
ADD = ("add", '{"a":1,"b":2}')
COUNT = ("count_ships", '{"harbour":"Whitby"}')
TOOLS = (("measure", MEASURE),)
DEPTH = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "metres": {"type": "number", "minimum": 0, "title": "Depth"},
        "place": {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}], "default": None},
        "unit": {"const": "m"},
    },
    "required": ["metres"],
    "$defs": {
        "Place": {
            "type": "object",
            "properties": {"name": {"type": "string", "minLength": 1}},
            "required": ["name"],
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}
FAMILY = {
    "type": "object",
    "properties": {"children": {"type": "array", "items": {"$ref": "#"}}, "ages": {"additionalProperties": {}}},
}


async def plain_answer(talk: Talk) -> None:
    talk.model(Answer("Good morning."))
    assert (await talk.ask("Hello")).text == "Good morning."


async def system_prompt(talk: Talk) -> None:
    talk.client.system("Be brief.")
    talk.model(Answer("Yes."))
    assert (await talk.ask("Is it high water?")).text == "Yes."
    await talk.ask("And now?")


async def late_system_message(talk: Talk) -> None:
    talk.client.user("Hello")
    talk.client.assistant("Good morning.")
    talk.client.system("Be brief.")
    await talk.ask("Is it high water?")


async def blank_system_message(talk: Talk) -> None:
    talk.client.system(" \n")
    await talk.ask("Is it high water?")


async def tool_loop(talk: Talk) -> None:
    talk.model(Answer("Let me add.", (ADD,)), Answer("It is 3."))
    assert (await talk.ask("1 + 2?")).text.endswith("It is 3.")


async def tool_loop_without_words(talk: Talk) -> None:
    talk.model(Answer(calls=(ADD,)), Answer("It is 3."))
    assert (await talk.ask("1 + 2?")).text == "It is 3."


async def parallel_calls(talk: Talk) -> None:
    talk.model(Answer("Let me see.", (ADD, COUNT, ADD)), Answer("3 and 3."))
    await talk.ask("1 + 2, and ships?")
    await talk.ask("And now?")


async def loop_of_three_turns(talk: Talk) -> None:
    talk.model(Answer(calls=(ADD,)), Answer("And ships.", (COUNT,)), Answer(calls=(ADD,)), Answer("Done."))
    assert (await talk.ask("Add, count, add.")).text.endswith("Done.")


async def question_after_a_tool_loop(talk: Talk) -> None:
    talk.model(Answer("Let me add.", (ADD,)), Answer("It is 3."), Answer("Yes."), Answer(calls=(COUNT,)), Answer("3."))
    await talk.ask("1 + 2?")
    assert (await talk.ask("Sure?")).text.endswith("Yes.")
    await talk.ask("How many ships?")
    await talk.ask("And now?")


async def model_without_thought_in_a_loop(talk: Talk) -> None:
    """A model may skip thinking in a turn after the first."""
    talk.model(Answer(calls=(ADD,)), Answer("It is 3."), Answer("Well.", silent=True))
    await talk.ask("1 + 2?")
    await talk.ask("And now?")


async def empty_result(talk: Talk) -> None:
    talk.model(Answer(calls=(("say_nothing", "{}"),)), Answer("Nothing."))
    await talk.ask("Say nothing.")
    await talk.ask("And now?")


async def no_arguments(talk: Talk) -> None:
    talk.model(Answer(calls=(("say_nothing", ""),)), Answer("Nothing."))
    await talk.ask("Say nothing.")


async def broken_arguments(talk: Talk) -> None:
    talk.model(Answer(calls=(("add", '{"a":1,'),)), Answer("I was wrong."))
    await talk.try_to_ask("1 + 2?")
    await talk.ask("And now?")


async def arguments_that_are_no_object(talk: Talk) -> None:
    talk.model(Answer(calls=(("add", "[1,2]"),)), Answer("I was wrong."))
    await talk.ask("1 + 2?")
    await talk.ask("And now?")


async def invented_name(talk: Talk) -> None:
    talk.model(Answer(calls=(("#lookUp", "{}"),)), Answer("I was wrong."))
    await talk.ask("1 + 2?")
    await talk.ask("And now?")


async def invented_name_in_other_letters(talk: Talk) -> None:
    talk.model(Answer(calls=(("hafen.zählen schiffe", "{}"),)), Answer("I was wrong."))
    await talk.ask("1 + 2?")
    await talk.ask("And now?")


async def invented_name_that_is_long(talk: Talk) -> None:
    talk.model(Answer(calls=(("look_up" * 20, "{}"), ("look_up" * 21, "{}"))), Answer("I was wrong."))
    await talk.ask("1 + 2?")
    await talk.ask("And now?")


async def answer_that_broke(talk: Talk) -> None:
    talk.model(Answer("Half of what I wanted to say about ships", cut=True))
    await talk.try_to_ask("Tell me.")
    await talk.ask("And now?")


async def call_that_broke(talk: Talk) -> None:
    talk.model(Answer("Let me add both of these numbers now", (ADD,), cut=True))
    await talk.try_to_ask("1 + 2?")
    await talk.ask("And now?")


async def answer_that_broke_after_a_call(talk: Talk) -> None:
    talk.model(Answer(calls=(ADD,)), Answer("Half of what I wanted to say about ships", cut=True))
    await talk.try_to_ask("1 + 2?")
    await talk.ask("And now?")


async def two_questions(talk: Talk) -> None:
    talk.client.user("Hello")
    await talk.ask("Is it high water?")


async def two_answers(talk: Talk) -> None:
    talk.client.user("Hello")
    talk.client.assistant("Good morning.")
    talk.client.assistant("Or good day.")
    await talk.ask("Is it high water?")


async def greeting_first(talk: Talk) -> None:
    talk.client.assistant("Welcome to the harbour.")
    await talk.ask("Is it high water?")
    await talk.ask("And now?")


async def blank_answer(talk: Talk) -> None:
    talk.client.user("Hello")
    talk.client.assistant(" \n ")
    await talk.ask("Is it high water?")


async def blank_answer_of_the_model(talk: Talk) -> None:
    talk.model(Answer(" \n "))
    await talk.ask("Hello")
    await talk.ask("And now?")


async def blank_words_before_a_call(talk: Talk) -> None:
    talk.model(Answer("\n\n", (ADD,)), Answer("It is 3."))
    await talk.ask("1 + 2?")
    await talk.ask("And now?")


async def blank_question_in_the_past(talk: Talk) -> None:
    talk.client.user("  ")
    talk.client.assistant("Yes?")
    await talk.ask("Is it high water?")


async def calls_of_another_provider(talk: Talk) -> None:
    """The deployment, or the client's choice, has switched to another provider."""
    for number, call_id in enumerate(("functions.add:3", "call/ü+1=", "x" * 300)):
        talk.client.user(f"1 + {number}?")
        talk.client.assistant("Let me add.", (call_id, "add", '{"a":1,"b":2}'))
        talk.client.result(call_id, "3")
        talk.client.assistant("It is 3.")
    await talk.ask("And now?")


async def tool_loop_in_the_past(talk: Talk) -> None:
    talk.client.user("1 + 2?")
    talk.client.assistant("", ("call_1", "add", '{"a":1,"b":2}'))
    talk.client.result("call_1", "3")
    talk.client.assistant("It is 3.")
    talk.model(Answer(calls=(ADD,)), Answer("Still 3."))
    await talk.ask("Sure?")


async def result_then_question(talk: Talk) -> None:
    """As after an answer that failed after its tools."""
    talk.client.user("1 + 2?")
    talk.client.assistant("", ("call_1", "add", '{"a":1,"b":2}'))
    talk.client.result("call_1", "3")
    await talk.ask("Well?")


async def unanswered_call(talk: Talk) -> None:
    talk.client.user("1 + 2?")
    talk.client.assistant("Let me add.", ("call_1", "add", '{"a":1,"b":2}'))
    await talk.ask("Well?")


async def orphan_result(talk: Talk) -> None:
    talk.client.user("1 + 2?")
    talk.client.result("call_9", "3")
    talk.client.assistant("It is 3.")
    await talk.ask("Sure?")


async def two_results_of_a_call(talk: Talk) -> None:
    talk.client.user("1 + 2?")
    talk.client.assistant("", ("call_1", "add", '{"a":1,"b":2}'))
    talk.client.result("call_1", "2")
    talk.client.result("call_1", "3")
    talk.client.assistant("It is 3.")
    await talk.ask("Sure?")


async def result_that_came_late(talk: Talk) -> None:
    talk.client.user("1 + 2?")
    talk.client.assistant("", ("call_1", "add", '{"a":1,"b":2}'))
    talk.client.user("Are you there?")
    talk.client.result("call_1", "3")
    await talk.ask("Well?")


async def two_calls_with_one_id(talk: Talk) -> None:
    talk.client.user("1 + 2?")
    call = ("call_1", "add", '{"a":1,"b":2}')
    talk.client.assistant("", call, call)
    talk.client.result("call_1", "3")
    talk.client.assistant("It is 3.")
    await talk.ask("Sure?")


async def one_id_in_two_turns(talk: Talk) -> None:
    for _ in range(2):
        talk.client.user("1 + 2?")
        talk.client.assistant("", ("call_1", "add", '{"a":1,"b":2}'))
        talk.client.result("call_1", "3")
        talk.client.assistant("It is 3.")
    await talk.ask("Sure?")


async def names_that_nobody_takes_in_the_past(talk: Talk) -> None:
    talk.client.user("1 + 2?")
    talk.client.assistant("", ("call_1", "#add.numbers now", "{}"), ("call_2", "9lives", "{}"))
    talk.client.result("call_1", "3")
    talk.client.result("call_2", "")
    talk.client.assistant("It is 3.")
    await talk.ask("Sure?")


async def half_surrogate(talk: Talk) -> None:
    talk.client.user("Half an emoji: \ud83d")
    talk.client.assistant("And \ude00 the other half.")
    await talk.ask("Well \ud83d?")


async def images(talk: Talk) -> None:
    await talk.ask("What is this?", PNG)
    await talk.ask("And now?")


async def image_in_the_past(talk: Talk) -> None:
    talk.client.user("What is this?", PNG)
    talk.client.assistant("A harbour.")
    await talk.ask("And now?")


async def image_without_words(talk: Talk) -> None:
    talk.client.user("", PNG)
    await talk.ask()


def takes_pdf(talk: Talk) -> bool:
    return talk.provider.name.startswith(("anthropic", "bedrock", "openai", "azure", "openrouter"))


async def try_with(talk: Talk, text: str, *files: tuple[str, str, str], is_taken: bool) -> None:
    """Ask with documents; a model that does not take them is not asked."""
    asked = len(talk.provider.requests)
    talk.client.attach(text, *files)
    reply = await talk.try_to_ask()
    assert (reply.status, reply.is_whole) == ((200, True) if is_taken else (400, False)), reply
    assert is_taken or "documents of type application" in reply.error
    assert (len(talk.provider.requests) > asked) == is_taken


async def pdf(talk: Talk) -> None:
    talk.model(Answer("A plan."))
    await try_with(talk, "What is this?", PDF, is_taken=takes_pdf(talk))
    await talk.ask("And now?")


async def pdf_without_words(talk: Talk) -> None:
    await try_with(talk, "", PDF, PDF, is_taken=takes_pdf(talk))
    await talk.ask("And now?")


async def pdf_and_its_loop(talk: Talk) -> None:
    if takes_pdf(talk):
        talk.model(Answer("Let me add.", (ADD,)), Answer("It is 3."))
        await try_with(talk, "Add what is in it.", PDF, is_taken=True)
    await talk.ask("And now?")


async def pdf_after_a_result(talk: Talk) -> None:
    """As after an answer that failed after its tools."""
    talk.client.user("1 + 2?")
    talk.client.assistant("", ("call_1", "add", '{"a":1,"b":2}'))
    talk.client.result("call_1", "3")
    await try_with(talk, "", PDF, is_taken=takes_pdf(talk))
    await talk.ask("Well?")


async def office_document(talk: Talk) -> None:
    await try_with(talk, "What is this?", DOCX, is_taken=talk.provider.name.startswith("bedrock"))
    await talk.ask("And now?")


async def text_documents(talk: Talk) -> None:
    """Any model reads text."""
    talk.client.attach("What is this?", ("tides.csv", "text/csv", CSV), ("Häfen..  2.json", "application/json", JSON))
    await talk.ask()
    talk.client.attach("", ("", "text/markdown", CSV))
    await talk.ask()
    await talk.ask("And now?")


async def many_documents(talk: Talk) -> None:
    """Those of older messages become lines."""
    for _ in range(3):
        talk.client.attach("And this?", *[("tides.csv", "text/csv", CSV)] * 3)
        await talk.ask()


async def client_tool(talk: Talk) -> None:
    talk.model(Answer("Let me measure.", (("measure", '{"what":"depth"}'),)), Answer("Deep."))
    reply = await talk.ask("How deep is it?", tools=TOOLS)
    talk.client.result(reply.calls[0][0], "12 m")
    await talk.ask(tools=TOOLS)
    await talk.ask("And now?", tools=TOOLS)


async def client_tool_without_a_result(talk: Talk) -> None:
    talk.model(Answer(calls=(("measure", '{"what":"depth"}'),)), Answer("Never mind."))
    await talk.ask("How deep is it?", tools=TOOLS)
    await talk.ask("Never mind.", tools=TOOLS)


async def client_tool_with_an_empty_result(talk: Talk) -> None:
    talk.model(Answer(calls=(("measure", '{"what":"depth"}'),)), Answer("Nothing."))
    reply = await talk.ask("How deep is it?", tools=TOOLS)
    talk.client.result(reply.calls[0][0], "")
    await talk.ask(tools=TOOLS)


async def client_tool_beside_the_servers(talk: Talk) -> None:
    talk.model(Answer(calls=(("measure", '{"what":"depth"}'), ADD)), Answer("Deep."))
    reply = await talk.ask("How deep is it, and 1 + 2?", tools=TOOLS)
    talk.client.result(next(i for i, name in reply.calls if name == "measure"), "12 m")
    await talk.ask(tools=TOOLS)


async def client_tools_switched_off(talk: Talk) -> None:
    """The client offers its tool no more, while its history has calls of it."""
    talk.model(Answer(calls=(("measure", '{"what":"depth"}'),)), Answer("Deep."))
    reply = await talk.ask("How deep is it?", tools=TOOLS)
    talk.client.result(reply.calls[0][0], "12 m")
    await talk.ask(tools=TOOLS)
    await talk.ask("And now?")


async def tools_switched_off(talk: Talk) -> None:
    talk.model(Answer(calls=(ADD,)), Answer("It is 3."), Answer("Yes."))
    await talk.ask("1 + 2?")
    await talk.ask("Sure?", tool_choice="none")


async def forced_call(talk: Talk) -> None:
    talk.model(Answer(calls=(ADD,)), Answer("It is 3."))
    await talk.ask("1 + 2?", tool_choice="required")


async def odd_client_schema(talk: Talk) -> None:
    schemas = {
        "any_of": {"type": "object", "properties": {"x": {"type": "string"}}, "anyOf": [{"required": ["x"]}]},
        "typeless": {"properties": {"x": {"type": "string"}}},
        "empty": {},
        "odd_names": {"type": "object", "properties": {"$top": {"type": "integer"}, "page id": {"type": "string"}}},
    }
    await talk.ask("Hello", tools=tuple(schemas.items()))


async def few_tokens_and_a_temperature(talk: Talk) -> None:
    options: dict[str, Any] = {"max_tokens": 500, "temperature": 0.5}
    if talk.provider.name in {"azure", "openai", "openai-chat"} and talk.client.path != "/agui":  # take none but 1
        refused = await talk.try_to_ask("Hello", **options)
        assert "temperature" in refused.error
        assert talk.provider.name != "azure" or refused.status == 400  # known before it is asked
        options["temperature"] = 1
    await talk.ask("Hello", **options)


async def odd_tool_of_the_server(talk: Talk) -> None:
    talk.client.user("1 + 2?")
    talk.client.assistant("Let me add.", ("call_1", "add", '{"a":1,"b":2}'))
    talk.client.result("call_1", "3")
    talk.client.assistant("It is 3.")
    talk.service = Talk.begin("native", talk.provider, odd_tool()).service
    await talk.ask("Sure?")


async def structured_answer(talk: Talk) -> None:
    talk.model(Answer('{"metres": 12}'))
    assert (await talk.ask("How deep is it?", **talk.client.wants(DEPTH))).text == '{"metres": 12}'
    await talk.ask("And now?")


async def structured_answer_after_tools(talk: Talk) -> None:
    talk.model(Answer("Let me add.", (ADD,)), Answer('{"metres": 3}'))
    assert (await talk.ask("1 + 2?", **talk.client.wants(DEPTH))).text == '{"metres": 3}'


async def structured_answer_by_a_schema_that_no_provider_takes(talk: Talk) -> None:
    talk.model(Answer("Sorry?"), Answer('```json\n{"children": []}\n```'))
    assert (await talk.ask("Who is there?", **talk.client.wants(FAMILY))).text == '{"children": []}'


SCENARIOS: Mapping[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        plain_answer,
        system_prompt,
        late_system_message,
        blank_system_message,
        tool_loop,
        tool_loop_without_words,
        parallel_calls,
        loop_of_three_turns,
        question_after_a_tool_loop,
        model_without_thought_in_a_loop,
        empty_result,
        no_arguments,
        broken_arguments,
        arguments_that_are_no_object,
        invented_name,
        invented_name_in_other_letters,
        invented_name_that_is_long,
        answer_that_broke,
        call_that_broke,
        answer_that_broke_after_a_call,
        two_questions,
        two_answers,
        greeting_first,
        blank_answer,
        blank_answer_of_the_model,
        blank_words_before_a_call,
        blank_question_in_the_past,
        calls_of_another_provider,
        tool_loop_in_the_past,
        result_then_question,
        unanswered_call,
        orphan_result,
        two_results_of_a_call,
        result_that_came_late,
        two_calls_with_one_id,
        one_id_in_two_turns,
        names_that_nobody_takes_in_the_past,
        half_surrogate,
        images,
        image_in_the_past,
        image_without_words,
        pdf,
        pdf_without_words,
        pdf_and_its_loop,
        pdf_after_a_result,
        office_document,
        text_documents,
        many_documents,
        client_tool,
        client_tool_without_a_result,
        client_tool_with_an_empty_result,
        client_tool_beside_the_servers,
        client_tools_switched_off,
        tools_switched_off,
        forced_call,
        odd_client_schema,
        few_tokens_and_a_temperature,
        structured_answer,
        structured_answer_after_tools,
        structured_answer_by_a_schema_that_no_provider_takes,
        odd_tool_of_the_server,
    )
}
"""By name."""

NEEDS_TOOLS = {
    "tool_loop",
    "tool_loop_without_words",
    "parallel_calls",
    "loop_of_three_turns",
    "question_after_a_tool_loop",
    "model_without_thought_in_a_loop",
    "empty_result",
    "no_arguments",
    "broken_arguments",
    "arguments_that_are_no_object",
    "invented_name",
    "invented_name_in_other_letters",
    "invented_name_that_is_long",
    "call_that_broke",
    "answer_that_broke_after_a_call",
    "blank_words_before_a_call",
    "tools_switched_off",
    "forced_call",
    "structured_answer_after_tools",
    "client_tool",
    "client_tool_without_a_result",
    "client_tool_with_an_empty_result",
    "client_tool_beside_the_servers",
    "client_tools_switched_off",
}
"""In these the model calls tools."""

NEEDS_IMAGES = {"images", "image_without_words"}
"""In these the newest question has an image."""

NEEDS_CLIENT_TOOLS = {name for name in SCENARIOS if "client" in name}
"""In these the client has a tool of its own."""
