"""Kept conversations as frontends load them: what the real clients have after the streams, and what is loaded, are one.

Generated chats, a thousand for each version of the AI SDK: tools of the server and of the page, reasoning with
signatures and opaque data, images, failures, stops, several turns in an answer.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from tests import npm
from tests.chat.formats.kept_chats import CLIENT_TOOLS, SERVER_TOOLS, Answer, Chat, generate
from winterbourne.chat.formats.ai_sdk.encode import AiSdkEncoder
from winterbourne.chat.formats.ai_sdk.history import encode_history

pytestmark = pytest.mark.slow

CHATS = 1000


@pytest.fixture(scope="module")
def chats() -> list[Chat]:
    async def all_of_them() -> list[Chat]:
        return [await generate(seed, same_id=True) for seed in range(CHATS)]

    return asyncio.run(all_of_them())


def as_the_page_has_it(answer: Answer) -> dict[str, Any]:
    """One answer's request as it is in the page, and the stream of the answer."""
    stream = AiSdkEncoder(CLIENT_TOOLS).encode(answer.events).decode()
    if answer.question:
        return {"message": encode_history([answer.question], ())[0], "stream": stream}
    outputs = {
        result.tool_call_id: {"state": "output-error", "errorText": result.content}
        if result.is_error
        else {"state": "output-available", "output": orjson.loads(result.content)}
        for result in answer.results
    }
    return {"outputs": outputs, "stream": stream}


def differences(version: str, chats: Sequence[Chat]) -> Any:
    given = [
        {"kept": encode_history(chat.kept, SERVER_TOOLS), "answers": [*map(as_the_page_has_it, chat.answers)]}
        for chat in chats
    ]
    return npm.run("kept.mjs", version, given=given)


@pytest.mark.parametrize("version", ["ai", "ai6", "ai5"])
def test_what_is_loaded_is_what_the_streams_have_built(version: str, chats: list[Chat]) -> None:
    assert differences(version, chats) == []
