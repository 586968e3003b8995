"""Requests that are rejected before the provider is called, each in the error shape of its format."""

from collections.abc import Iterable
from typing import Any, Final

from tests.recorded.cases.formats import CHAT_PATHS, text_of_user
from tests.recorded.exchange import ALICE, Case, Exchange, get, post
from tests.recorded.provider_responses import says

__all__ = ["CASES"]

BOB: Final = {"authorization": "Bearer made-up-bob"}
CLIENT_TOOLS: Final[dict[str, Any]] = {
    "/api/chat": {name: {"parameters": {}} for name in ("a", "b")},
    "/agui": [{"name": name} for name in ("a", "b")],
    "/v1/chat/completions": [{"type": "function", "function": {"name": name}} for name in ("a", "b")],
}


def everywhere(name: str, body: bytes, **more: Any) -> Case:
    """The same body for every format."""
    return case(name, *(post(path, body, **more) for path in CHAT_PATHS))


def case(name: str, *exchanges: Exchange, server: str = "openai") -> Case:
    return Case(group="refusals", name=name, server=server, exchanges=exchanges)


def body_with(path: str, *texts: str, **more: Any) -> dict[str, Any]:
    messages = [text_of_user(path, text) | ({"id": f"u{n}"} if "a" in path[:3] else {}) for n, text in enumerate(texts)]
    return {"messages": messages, **more}


def strictly(name: str, bodies: Iterable[tuple[str, dict[str, Any]]]) -> Case:
    return case(name, *(post(path, body) for path, body in bodies), server="strict")


IMAGE: Final = {"type": "image", "media_type": "image/png", "data": "iVBORw0KGgo="}

CASES: Final = [
    case(
        "nobody_without_a_key",
        *(post(path, body_with(path, "Well?"), headers={}) for path in CHAT_PATHS),
        get("/v1/models", headers={}),
        get("/conversations", headers={"x-api-key": "unknown"}),
    ),
    case("unknown_path", get("/nothing"), post("/v1/nothing", {}), get("/chat/a/b")),
    case(
        "wrong_method",
        *(get(path) for path in CHAT_PATHS),
        post("/healthz", {}),
        post("/conversations/a", {}),
        get("/chat/a/stop"),
    ),
    case(
        "wrong_content_type",
        *(
            Exchange(method="POST", path=p, body=b"{}", headers={"content-type": "text/plain", **ALICE})
            for p in CHAT_PATHS
        ),
    ),
    everywhere("body_that_is_no_json", b'{"messages":'),
    everywhere("body_that_is_no_object", b"[]"),
    everywhere("body_that_is_no_utf8", b'{"messages":"\xff"}'),
    everywhere("body_without_messages", b"{}"),
    everywhere("no_messages", b'{"messages":[]}'),
    case("empty_message", *(post(path, body_with(path, "")) for path in CHAT_PATHS)),
    case("unknown_model", *(post(p, body_with(p, "Well?", model="enormous")) for p in CHAT_PATHS if p != "/agui")),
    case("temperature_beyond", *(post(p, body_with(p, "Well?", temperature=3)) for p in CHAT_PATHS if p != "/agui")),
    case(
        "history_that_does_not_fit",
        post("/chat", {"messages": [{"role": "tool", "tool_call_id": "call_1", "content": "so"}]}),
        post("/agui", {"messages": [{"role": "tool", "id": "t", "toolCallId": "call_1", "content": "so"}]}),
        post("/v1/chat/completions", {"messages": [{"role": "tool", "tool_call_id": "call_1", "content": "so"}]}),
        post("/chat", {"messages": [{"role": "user", "content": "a", "id": "u"}] * 2}),
        post("/chat", {"messages": [{"role": "narrator", "content": "Once"}]}),
    ),
    case(
        "media_that_is_refused",
        post("/chat", {"messages": [{"role": "user", "content": [{**IMAGE, "media_type": "image/tiff"}]}]}),
        post("/chat", {"messages": [{"role": "user", "content": [{**IMAGE, "data": "?"}]}]}),
        post("/chat", {"messages": [{"role": "user", "content": [{**IMAGE, "url": "https://example.com/"}]}]}),
    ),
    case("unknown_tool_choice", post("/chat", body_with("/chat", "Well?", tool_choice="divine"))),
    strictly("body_too_large", ((path, body_with(path, *["w" * 30] * 30)) for path in CHAT_PATHS)),
    strictly("too_many_messages", ((path, body_with(path, *"abcd")) for path in CHAT_PATHS)),
    strictly("message_too_long", ((path, body_with(path, "w" * 41)) for path in CHAT_PATHS)),
    strictly("too_many_tools", ((p, body_with(p, "Well?", tools=CLIENT_TOOLS[p])) for p in CHAT_PATHS if p != "/chat")),
    strictly("too_many_images", [("/chat", {"messages": [{"role": "user", "content": [IMAGE, IMAGE]}]})]),
    strictly("json_too_deep", ((path, {"messages": [], "deep": [[[[[[[[]]]]]]]]}) for path in CHAT_PATHS)),
    case(
        "one_request_too_many",
        *(post(p, body_with(p, "Well?"), says("So."), headers=BOB, until=429) for p in CHAT_PATHS),
        server="strict",
    ),
    case(
        "url_that_does_not_say_who_calls",
        *(post(path, body_with(path, "Well?"), headers={}) for path in CHAT_PATHS),
        server="iam",
    ),
    case(
        "store_that_is_away",
        post("/chat", body_with("/chat", "Well?", store=True, conversation_id="a")),
        post("/api/chat", body_with("/api/chat", "Well?", store=True, id="a")),
        get("/conversations"),
        get("/conversations/a"),
        get("/conversations/a", method="DELETE"),
        get("/chat/a/stop", method="POST"),
        server="storeless",
    ),
]
