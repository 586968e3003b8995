"""Redaction end to end: what a tool leaks reaches no response, log, store or provider request of the real process."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.local_server import ROOT, LocalServer, local_server
from tests.provider import Provider, provider

pytestmark = pytest.mark.slow

KEYS = {
    "OPENAI_API_KEY": "made-up-provider-key",
    "API_KEYS": json.dumps({"nora": "made-up-key-of-nora", "omar": ["made-up-key-of-omar"]}),
    "MCP_TOKENS": json.dumps({"pier": "made-up-token-of-pier"}),
    "FINNHUB_API_KEY": "made-up key/with signs+",
}
VALUES = [
    KEYS["OPENAI_API_KEY"],
    "made-up-key-of-nora",
    "made-up-key-of-omar",
    "made-up-token-of-pier",
    "made-up key/with",
]
SHIP = "Endeavour"

TOOLS = '''
"""Tools that let slip what they know."""

import os
import sys

import httpx

try:
    from winterbourne.chat import ToolContext, ToolError, tool
except ImportError:
    from winterbourne.chat.errors import ToolError
    from winterbourne.chat.tool_runtime.declaration import ToolContext, tool


@tool
async def find_berth(ship: str) -> str:
    """Find a berth."""
    raise OSError(f"login failed for mysql://harbour:s3cr3t-pw@10.9.8.7/berths ({ship})")


@tool(needs=["FINNHUB_API_KEY"])
async def ask_price(ship: str, context: ToolContext) -> str:
    """Ask for a price."""
    key = await context.key("FINNHUB_API_KEY")
    request = httpx.Request("GET", "https://prices.example.com", params={"ship": ship, "token": key})
    return httpx.Response(401, request=request).raise_for_status().text


@tool
async def tell_all(ship: str) -> dict[str, str]:
    """Tell all."""
    print(dict(os.environ), file=sys.stderr)
    return dict(os.environ)


@tool
async def say_all(ship: str, context: ToolContext) -> str:
    """Say all."""
    await context.progress({name: os.environ[name] for name in ("OPENAI_API_KEY", "API_KEYS", "MCP_TOKENS")})
    raise ToolError(" ".join(os.environ.values()))
'''

NAMES = ("find_berth", "ask_price", "tell_all", "say_all")


class Leaky(NamedTuple):
    """The chat with these tools, its provider and its store."""

    server: LocalServer
    provider: Provider
    store: Path

    def stored_text(self) -> str:
        """Everything in the store, as text."""
        with contextlib.closing(sqlite3.connect(self.store)) as file:
            return str(file.execute("select * from items").fetchall())

    def ask(self, path: str, body: dict[str, Any]) -> str:
        headers = {"x-api-key": "made-up-key-of-nora"}
        response = httpx.post(self.server.url + path, json=body, headers=headers, timeout=30)
        assert response.status_code in {200, 400, 502}  # at /v1, a failure before any output has a status of its own
        return response.text


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Leaky]:
    folder = tmp_path_factory.mktemp("leaks")
    shutil.copytree(ROOT / "functions", folder / "f", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "f/chat/tools/leaky.py").write_text(TOOLS)
    with provider() as model:
        settings = KEYS | {
            "MODEL_PROVIDER": "openai",
            "OPENAI_BASE_URL": model.url,
            "AUTH": "api_key",
            "STORE": f"file:{folder}/chat.db",
            "TITLE_MODEL": "off",  # whose request would come among those of the next test
        }
        flags = [flag for name, value in settings.items() for flag in ("--env", f"{name}={value}")]
        with local_server(folder, "--task-root", str(folder / "f"), *flags) as server:
            yield Leaky(server, model, folder / "chat.db")


def calls(*names: str) -> bytes:
    """The stream of a provider that calls these tools, with arguments."""
    arguments = json.dumps({"ship": SHIP})
    fragments = [
        {"index": at, "id": f"call_{at}", "function": {"name": name, "arguments": arguments}}
        for at, name in enumerate(names)
    ]
    return frames({"delta": {"tool_calls": fragments}, "finish_reason": "tool_calls"})


def frames(*choices: dict[str, Any]) -> bytes:
    chunks = [b"data: %b\n\n" % json.dumps({"choices": [{"index": 0, **choice}]}).encode() for choice in choices]
    return b"".join(chunks) + b"data: [DONE]\n\n"


TEXT_ANSWER = frames({"delta": {"content": "Done."}, "finish_reason": "stop"})
QUESTION = "Where does she lie?"
BODIES: dict[str, dict[str, Any]] = {
    "/chat": {"messages": [{"role": "user", "content": QUESTION}], "conversation_id": "c", "store": True},
    "/api/chat": {"messages": [{"role": "user", "id": "1", "parts": [{"type": "text", "text": QUESTION}]}]},
    "/agui": {"messages": [{"role": "user", "id": "1", "content": QUESTION}]},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": QUESTION}], "stream": True},
}


@pytest.mark.parametrize("path", BODIES)
def test_secrets_leaked_by_a_tool_reach_no_response_log_store_or_provider(leaky: Leaky, path: str) -> None:
    leaky.provider.responds_with_streams(calls(*NAMES), TEXT_ANSWER)
    response = leaky.ask(path, BODIES[path])
    provider_request = json.dumps(leaky.provider.requests[-1], ensure_ascii=False)
    for text in (response, provider_request, leaky.server.log.read_text(), leaky.stored_text()):
        assert not [value for value in VALUES if value in text]
    assert "s3cr3t-pw" not in response + provider_request + leaky.stored_text()
    assert path != "/chat" or QUESTION in leaky.stored_text()
    assert "find_berth failed because of an internal error." in provider_request
    assert "[redacted]" in provider_request


def test_the_log_has_the_error_and_not_the_arguments(leaky: Leaky) -> None:
    leaky.provider.responds_with_streams(calls("find_berth", "ask_price"), TEXT_ANSWER)
    leaky.ask("/chat", {"messages": [{"role": "user", "content": QUESTION}]})
    log = leaky.server.log.read_text()
    assert "OSError: login failed for mysql://harbour:s3cr3t-pw@10.9.8.7/berths ([argument])" in log
    assert "https://prices.example.com?ship=[argument]&token=[redacted]" in log
    assert SHIP not in log


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "sent",
    [
        b'data: {"error":{"message":"KEY is not for this model","code":"denied"}}\n\n',
        frames({"delta": {"content": "It is KEY."}, "finish_reason": "stop"}),
        frames(
            {"delta": {"content": "It is made-up-pro"}}, {"delta": {"content": "vider-key."}, "finish_reason": "stop"}
        ),
        frames(
            {"delta": {"reasoning_content": "It is KEY."}}, {"delta": {"content": "I see."}, "finish_reason": "stop"}
        ),
    ],
)
def test_a_key_quoted_by_the_provider_is_redacted(leaky: Leaky, path: str, sent: bytes) -> None:
    key = KEYS["OPENAI_API_KEY"]
    leaky.provider.responds_with_streams(sent.replace(b"KEY", key.encode()))
    assert key not in leaky.ask(path, BODIES[path])
    assert key not in leaky.server.log.read_text()


def test_a_key_pasted_by_a_user_does_not_reach_the_provider(leaky: Leaky) -> None:
    leaky.provider.responds_with_streams(TEXT_ANSWER)
    leaky.ask("/chat", {"messages": [{"role": "user", "content": "my key is made-up-key-of-nora"}]})
    assert leaky.provider.requests[-1]["messages"][-1]["content"] == "my key is [redacted]"
