"""Cases that run in every format: text, reasoning, tools, limits and provider errors."""

from typing import Final

from tests.recorded.cases.formats import FORMATS, FORMATS_WITH_TOOL_EVENTS, question
from tests.recorded.exchange import Answer, Case
from tests.recorded.provider_responses import calls, chunk, document, says, stream, thinks

__all__ = ["CASES"]

BROKEN: Final = chunk({"content": "Half of "}) + chunk({"content": "it"})
OVERLOADED: Final = (
    b'data: {"error":{"message":"The engine is overloaded","type":"overloaded_error","code":"overloaded"}}\n\n'
)
SUM: Final = ("call_sum", "calculate", '{"expression":"6*7"}')
SAME: Final = ("call_same", "convert_currency", '{"amount":12,"from_currency":"EUR","to_currency":"EUR"}')


QUICK_LAST: Final = frozenset({"ag_ui", "ai_sdk"})
"""Formats that are recorded with the conversion's result, which has a `source`, before the one of the tool `quick`."""


def at_once(form: str) -> tuple[Answer, ...]:
    """Tools that end in another order than they start; in any order for formats without tool events."""

    def after(word: str, say: str) -> tuple[str, str, str]:
        return f"call_{say}", "after", f'{{"word":"{word if form in FORMATS_WITH_TOOL_EVENTS else ""}","say":"{say}"}}'

    return calls(after("middle", "slow"), after("", "quick"), SAME, after("quick", "middle")), says("All done.")


SCENES: Final[dict[str, tuple[Answer, ...]]] = {
    "text": (says("Hello", ", ", 'world \\ "quoted" é 😀'),),
    "reasoning": (thinks("Let me ", "think.", then="Four."),),
    "one_tool": (calls(SUM, text="Let me see."), says("42.")),
    "tool_that_says_why_not": (calls(("call_1", "unwilling", "{}")), says("They are closed.")),
    "tool_that_breaks": (calls(("call_1", "broken", '{"word":"spoon"}')), says("It broke.")),
    "arguments_that_do_not_fit": (calls(("call_1", "calculate", '{"expression":7,"extra":1}')), says("I see.")),
    "arguments_that_are_no_json": (calls(("call_1", "calculate", '{"expression":')), says("I see.")),
    "tool_that_is_unknown": (calls(("call_1", "divine", "{}")), says("I see.")),
    "tool_that_is_not_set_up": (calls(("call_1", "get_stock_quote", '{"symbol":"AAPL"}')), says("No quotes here.")),
    "tool_that_takes_too_long": (calls(("call_1", "asleep", "")), says("It slept.")),
    "progress": (calls(("call_1", "stepwise", '{"steps":3}')), says("Three steps.")),
    "result_that_is_cut": (calls(("call_1", "long_winded", '{"times":99}')), says("And so on.")),
    "made_ids": (calls(("", "calculate", '{"expression":"1+1"}')), says("Two.")),
    "max_turns": (calls(SUM), calls(SUM), calls(SUM)),
    "max_tokens": (says("As long as it", finish="length"),),
    "content_filter": (says("I was going to", finish="content_filter"),),
    "refusal": (stream(chunk({"refusal": "I will not."})),),
    "error_in_the_stream": (Answer(body=BROKEN + OVERLOADED),),
    "stream_without_an_end": (Answer(body=BROKEN),),
    "stream_that_breaks": (Answer(body=BROKEN, is_cut=True),),
    "document_in_place_of_a_stream": (document(200, {"object": "chat.completion"}),),
    "provider_refuses": (document(400, {"error": {"message": "no such option: tempo", "code": "bad_option"}}),),
    "provider_knows_no_key": (document(401, {"error": {"message": "Incorrect API key made-up", "code": "bad_key"}}),),
    "provider_is_busy_first": (
        document(429, {"error": {"message": "slow down", "code": "rate_limit"}}, retry_after="0.01"),
        says("Now."),
    ),
}

CASES: Final = [
    *(
        Case(group=form, name=name, exchanges=(question(form, "Well?", *answers),))
        for form in FORMATS
        for name, answers in SCENES.items()
    ),
    *(
        Case(
            group=form,
            name="tools_at_once",
            server="quick_last" if form in QUICK_LAST else "openai",
            exchanges=(question(form, "Well?", *at_once(form)),),
        )
        for form in FORMATS
    ),
]
