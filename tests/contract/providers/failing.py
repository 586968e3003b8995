"""A chat whose model dies after so many bytes of a tool loop, with another provider's model behind it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.chat.http_events import FakeLambdaContext, RecordedResponse, event, handle
from tests.contract.providers.clients import CLIENTS, Client, Reply
from tests.contract.providers.fake import Answer, StrictProvider, strict_providers
from winterbourne.chat.app import build
from winterbourne.chat.infra import telemetry
from winterbourne.chat.settings import Settings
from winterbourne.chat.tool_runtime.declaration import Tool, tool

__all__ = ["CALLS", "FINAL", "OPENING", "QUESTION", "Harbour", "Outcome", "harbour", "positions"]

QUESTION: Final = "1 + 2, and ships?"
OPENING: Final = "Let me add. "
FINAL: Final = "It is 3, and 3 ships."
CALLS: Final = (("add", '{"a":1,"b":2}'), ("count_ships", '{"harbour":"Whitby"}'))
PROVIDERS: Final = {"chat": "openai", "responses": "openai", "anthropic": "anthropic", "bedrock": "bedrock"}


def plan(messages: str) -> Answer:
    """What any model says here: it calls what has not been called for the newest question, then answers."""
    if QUESTION not in messages:
        return Answer("Ships were counted.", silent=True)  # a summary
    loop = messages[messages.rindex(QUESTION) :]
    missing = tuple(call for call in CALLS if f'"{call[0]}"' not in loop)
    return Answer(OPENING if missing == CALLS else "", missing) if missing else Answer(FINAL)


@dataclass
class Outcome:
    """One answer: as its client reads it, its bytes, and the tools that ran."""

    reply: Reply
    client: Client
    body: bytes
    ran: list[str]


@dataclass
class Harbour:
    """The two providers, and chats with them, a new one for each answer: no breaker remembers the last one."""

    first: StrictProvider
    second: StrictProvider

    @property
    def settings(self) -> dict[str, object]:
        """Those of the first, with the second behind it."""
        second = self.second.family.settings(self.second.port)
        name = PROVIDERS[self.second.family.dialect]
        base_url = f"{name}_base_url"
        fallback = f"{name}:{self.second.family.model_id}"
        first = {**self.first.family.settings(self.first.port), base_url: second[base_url]}
        return {"auth": "none", "title_model": "off", **first, "model_fallback": fallback}

    def tools(self, ran: list[str]) -> Sequence[Tool]:
        @tool
        def add(a: int, b: int) -> int:
            """Add two numbers."""
            ran.append("add")
            return a + b

        @tool
        def count_ships(harbour: str) -> str:
            """Count the ships in a harbour."""
            ran.append("count_ships")
            return f"3 in {harbour}"

        return add, count_ships

    async def ask(self, client: str | Client, dies_after: float, **options: Any) -> Outcome:
        """One answer of a chat whose first model dies after so many bytes; a client may have asked before."""
        for provider in (self.first, self.second):
            provider.plan, provider.sent = plan, 0
            provider.requests.clear()
        self.first.dies_after = dies_after
        ran: list[str] = []
        asker = CLIENTS[client]() if isinstance(client, str) else client
        service = build(Settings.of(**self.settings), self.tools(ran), telemetry.make_logger())
        asker.user(QUESTION)
        response, body = RecordedResponse(), asker.body((), **options)
        await handle(service, event("POST", asker.path, body), response, FakeLambdaContext())
        reply = asker.read(response) if response.status == 200 else Reply(response.status, error="refused")
        return Outcome(reply, asker, response.body, ran)


@asynccontextmanager
async def harbour(first: str, second: str) -> AsyncIterator[Harbour]:
    """Two providers of these families on loopback."""
    async with strict_providers(first, second) as providers:
        yield Harbour(providers[first], providers[second])
        complaints: Mapping[str, list[str]] = {name: one.unlearned for name, one in providers.items()}
        assert not any(complaints.values()), complaints


async def positions(chat: Harbour, count: int) -> list[int]:
    """So many numbers of bytes at which the first provider may die, from before its first to after its last."""
    await chat.ask("native", float("inf"))
    return [round(at * chat.first.sent / (count - 1)) for at in range(count)]
