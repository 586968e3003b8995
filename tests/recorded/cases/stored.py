"""Stored conversations: continued, repeated, listed, shown, stopped, deleted, one request at a time."""

from typing import Any, Final

from tests.recorded.exchange import Answer, Case, Exchange, get, post
from tests.recorded.provider_responses import calls, chunk, says, stream

__all__ = ["CASES"]

SUM: Final = ("call_sum", "calculate", '{"expression":"6*7"}')


def message_in(conversation: str, text: str, *answers: Answer, message_id: str = "", **more: Any) -> Exchange:
    """A new message in a stored conversation."""
    message = {"role": "user", "content": text} | ({"id": message_id} if message_id else {})
    body = {"messages": [message], "conversation_id": conversation, "store": True}
    return post("/chat", body, *answers, **more)


def ui(conversation: str, text: str, *answers: Answer) -> Exchange:
    """The same as the AI SDK sends it."""
    message = {"id": f"u-{text}", "role": "user", "parts": [{"type": "text", "text": text}]}
    return post("/api/chat", {"id": conversation, "messages": [message], "store": True}, *answers)


def held(said: str, rest: str) -> Answer:
    """A text whose second half is held back."""
    whole = stream(chunk({"content": rest}))
    return Answer(body=chunk({"content": said}), held=whole.body)


def case(name: str, *exchanges: Exchange) -> Case:
    return Case(group="stored", name=name, exchanges=exchanges)


def stop(conversation: str) -> Exchange:
    return get(f"/chat/{conversation}/stop", method="POST")


CASES: Final = [
    case(
        "continued_listed_shown_and_deleted",
        message_in("first", "Six times seven?", calls(SUM, text="Let me see."), says("Forty-two.")),
        message_in("first", "And now?", says("So.")),
        get("/conversations/first"),
        get("/conversations?limit=1"),
        get("/conversations/first", method="DELETE"),
        get("/conversations/first"),
    ),
    case(
        "message_that_is_sent_again",
        message_in("again", "One", says("Once."), message_id="u1"),
        message_in("again", "Two", says("Twice."), message_id="u2"),
        message_in("again", "Two!", says("Twice again."), message_id="u2"),
        get("/conversations/again"),
    ),
    case(
        "through_the_ai_sdk",
        ui("ui", "One", calls(SUM), says("Once.")),
        ui("ui", "Two", says("Twice.")),
        get("/conversations/ui"),
    ),
    case(
        "stopped_by_its_caller",
        message_in(
            "running",
            "Go on",
            held("It goes", " on and on"),
            wait_for=b"It goes",
            meanwhile=(
                message_in("running", "Me too"),
                get("/conversations/running", until_says=b"It goes"),  # it is stored within a second
                get("/conversations/running", method="DELETE"),
                stop("running"),
            ),
        ),
        get("/conversations/running"),
        message_in("running", "Well?", says("So.")),
    ),
    Case(
        group="stored",
        name="stopped_while_a_tool_runs",
        server="openai_at_once",
        exchanges=(
            message_in(
                "busy",
                "Wait",
                calls(SUM, ("call_never", "after", '{"word":"never","say":"never"}')),
                wait_for=b'"completed"',
                meanwhile=(stop("busy"),),
            ),
            get("/conversations/busy"),
        ),
    ),
    *(
        case(
            f"stopped_in_{name}", post(path, body, held("It goes", " on"), wait_for=b"It goes", meanwhile=(stop("s"),))
        )
        for name, path, body in (
            (
                "ai_sdk",
                "/api/chat",
                {"id": "s", "messages": [{"role": "user", "parts": [{"type": "text", "text": "Go"}]}]},
            ),
            ("ag_ui", "/agui", {"threadId": "s", "messages": [{"role": "user", "content": "Go"}]}),
            (
                "openai",
                "/v1/chat/completions",
                {
                    "stream": True,
                    "metadata": {"conversation_id": "s"},
                    "messages": [{"role": "user", "content": "Go"}],
                },
            ),
        )
    ),
]
