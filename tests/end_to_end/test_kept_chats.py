"""Chats that are kept here and loaded, edited and resumed by frontends of every format, over the local function URL."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource

pytestmark = pytest.mark.slow

WEATHER = "What is the weather in Paris?"


class Page:
    """A page with one chat."""

    def __init__(self, http: httpx.Client) -> None:
        self.id = str(uuid.uuid4())
        self.http = http

    def read(self, response: httpx.Response) -> list[Any]:
        response.raise_for_status()
        data = [event.data for event in EventSource(response).iter_sse()]
        return [json.loads(one) for one in data if one != "[DONE]"]

    def post(self, path: str, **body: Any) -> list[Any]:
        return self.read(self.http.post(path, json=body))

    def ask(self, message_id: str, text: str = "", **more: Any) -> list[Any]:
        message = {"id": message_id, "role": "user", "parts": [{"type": "text", "text": text}]}
        return self.post("/api/chat", id=self.id, **({"message": message} if text else {}), **more)

    @property
    def messages(self) -> list[Any]:
        loaded: list[Any] = self.http.get(f"/api/chat/{self.id}").json()["messages"]
        return loaded

    @property
    def ids(self) -> list[str]:
        return [message["id"] for message in self.messages]

    def texts(self, role: str) -> list[str]:
        return [
            "".join(part.get("text", "") for part in message["parts"])
            for message in self.messages
            if message["role"] == role
        ]


@pytest.fixture
def page(function_url: str) -> Iterator[Page]:
    with httpx.Client(base_url=function_url, timeout=30) as http:
        yield Page(http)


def test_a_chat_of_single_messages_is_loaded_as_a_whole(page: Page) -> None:
    page.ask("u1", WEATHER)
    page.ask("u2", "And in Rome?")
    assert page.texts("user") == [WEATHER, "And in Rome?"]
    first = page.messages[1]
    assert [part["type"] for part in first["parts"]].count("step-start") == 2
    assert first["metadata"]["usage"]["outputTokens"] > 0
    listed = {one["id"]: one["title"] for one in page.http.get("/api/chat").json()["chats"]}
    assert "Paris" in listed[page.id]


def test_a_new_chat_is_opened_by_its_url(page: Page) -> None:
    assert page.messages == []


def test_an_edited_question_takes_what_followed_it_along(page: Page) -> None:
    for message_id in ("u1", "u2"):
        page.ask(message_id, WEATHER)
    page.ask("u1", "And in Rome?", trigger="submit-message", messageId="u1")
    assert page.texts("user") == ["And in Rome?"]
    assert len(page.messages) == 2


@pytest.mark.parametrize("trigger", ["regenerate-message", "regenerate-assistant-message"])
def test_an_answer_is_regenerated_without_its_question(page: Page, trigger: str) -> None:
    for message_id in ("u1", "u2"):
        page.ask(message_id, WEATHER)
    first, answer, second, _ = page.ids
    page.ask("", trigger=trigger)
    assert page.ids[:3] == [first, answer, second]
    page.ask("", trigger=trigger, messageId=answer)
    assert page.ids[:1] == [first]
    assert len(page.ids) == 2
    assert page.ids[1] != answer
    page.ask("", trigger=trigger, messageId=first)
    assert page.ids[:1] == [first]
    assert len(page.ids) == 2


def test_an_answer_is_regenerated_natively(page: Page) -> None:
    page.ask("u1", WEATHER)
    before = page.ids
    page.post("/chat", conversation_id=page.id, store=True, regenerate=True, messages=[])
    assert page.ids[0] == before[0]
    assert len(page.ids) == 2
    assert page.ids[1] != before[1]


def test_a_thread_is_a_snapshot_once_its_answer_has_ended(page: Page) -> None:
    page.ask("u1", WEATHER)
    started, snapshot, finished = page.post("/agui", threadId=page.id, runId="r2", messages=[])
    assert (started["type"], started["runId"], finished["type"]) == ("RUN_STARTED", "r2", "RUN_FINISHED")
    assert [message["role"] for message in snapshot["messages"]] == ["user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize("path", ["/chat", "/api/chat", "/v1/chat/completions"])
def test_an_answer_of_any_format_is_sent_again_in_any(page: Page, path: str) -> None:
    page.ask("u1", WEATHER)
    told = page.texts("assistant")[0]
    again = json.dumps(page.read(page.http.get(f"{path}/{page.id}/stream")))
    assert "Paris" in told
    assert "Paris" in again
