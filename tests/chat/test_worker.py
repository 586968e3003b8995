"""The tool worker: what it streams, what it answers to callers that do not stream, and how a call is stopped in it."""

import json
from pathlib import Path
from typing import Any

from tests.chat.processes import run
from tests.collector import parse

WORKER = """
import contextlib
from winterbourne.chat import ToolContext, ToolWorker
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.storage.stop_signals import TOOL_CALL, StopSignals


@tool
async def climb(steps: int, context: ToolContext) -> str:
    \"\"\"Climb.\"\"\"
    for step in range(steps):
        await context.progress({"step": step})
    return "top"


@tool
async def flood(context: ToolContext) -> str:
    \"\"\"Report more than anybody reads.\"\"\"
    for _ in range(100):
        await context.progress("x" * 30_000)
    return "dry"


ended = []


@tool(timeout_s=30)
async def linger(context: ToolContext) -> None:
    \"\"\"Take long.\"\"\"
    await context.progress("lingering")
    try:
        await asyncio.sleep(30)
    finally:
        ended.append(True)


@tool
async def tell_key(context: ToolContext) -> str:
    \"\"\"Tell the key.\"\"\"
    return context.idempotency_key


def event(tool, stream=True, timeout_s=20, stop_key="", key="", **arguments):
    told = {"timeout_s": timeout_s, "stream": stream, "stop_key": stop_key, "idempotency_key": key}
    return {"tool": tool, "arguments": arguments, **told}


async def lines(event):
    return [line async for line in await worker.handler(event, CONTEXT)]


worker = ToolWorker(tools=[climb, flood, linger, hang, tell_key])
"""


def printed(code: str, **environment: str) -> Any:
    """What the code prints in its last line, as JSON."""
    return json.loads(run(WORKER + code, **environment).splitlines()[-1])


def shown(call: str, **environment: str) -> list[Any]:
    """The lines of a call, decoded."""
    code = f"print(json.dumps([json.loads(line) for line in asyncio.run(lines({call}))]))"
    return list(printed(code, **environment))


class TestStream:
    def test_has_a_line_for_each_progress_and_the_answer_last(self) -> None:
        answer = {"content": '"top"', "is_error": False}
        assert shown("event('climb', steps=1)") == [{"progress": {"step": 0}}, answer]

    def test_is_of_a_tool_that_has_the_key_of_a_call_that_runs_once(self) -> None:
        assert shown("event('tell_key', key='k1')") == [{"content": '"k1"', "is_error": False}]

    def test_of_a_call_that_fails_has_its_error_as_the_answer(self) -> None:
        (answer,) = shown("event('climb', steps='many')")
        assert answer["is_error"]
        assert "do not fit" in answer["content"]

    def test_of_a_call_that_takes_too_long_ends_in_the_time_that_the_chat_has_given(self) -> None:
        progress, answer = shown("event('linger', timeout_s=0.2)")
        assert progress == {"progress": "lingering"}
        assert (answer["is_error"], "was stopped" in answer["content"]) == (True, True)

    def test_leaves_out_the_progress_beyond_a_limit_and_never_the_answer(self) -> None:
        code = """
import winterbourne.chat.worker as module

module.MAX_PROGRESS_BYTES = 20_000
print(json.dumps([json.loads(line) for line in asyncio.run(lines(event("flood")))]))
"""
        assert printed(code) == [{"content": '"dry"', "is_error": False}]

    def test_progress_is_out_before_the_tool_has_ended(self) -> None:
        code = """
async def first():
    async with contextlib.aclosing(await worker.handler(event("linger"), CONTEXT)) as stream:
        seen = [(await anext(stream)).decode(), list(ended)]
    return [*seen, list(ended)]

print(json.dumps(asyncio.run(first())))
"""
        # Whoever closes the stream, as the runtime does at the deadline, ends the tool.
        assert printed(code) == ['{"progress":"lingering"}\n', [], [True]]

    def test_an_internal_error_is_raised_to_the_runtime_and_does_not_hang(self) -> None:
        code = """
async def fail(*_):
    raise RuntimeError("broken")

worker._run = fail
try:
    asyncio.run(lines(event("climb", steps=1)))
except RuntimeError as error:
    print(json.dumps(str(error)))
"""
        assert printed(code) == "broken"


class TestTrace:
    def test_the_spans_of_a_call_come_back_with_its_answer_as_part_of_the_chats_trace(self) -> None:
        chats = f"00-{'a' * 32}-{'b' * 16}-01"
        code = f"""
call = event("climb", steps=1) | {{"traceparent": {chats!r}, "wants_spans": True}}
print(json.dumps([json.loads(line) for line in asyncio.run(lines(call))]))
"""
        answer = printed(code, SERVICE_NAME="desk-worker")[-1]
        assert (answer["content"], answer["is_error"]) == ('"top"', False)
        request, call = parse(json.dumps({"resourceSpans": [answer["spans"]]}).encode())
        assert (request.service, request.name, request.kind) == ("desk-worker", "desk-worker", "server")
        assert (request.trace_id, request.parent_id) == ("a" * 32, "b" * 16)
        assert (call.name, call.parent_id) == ("execute_tool climb", request.span_id)

    def test_nobody_who_does_not_ask_gets_any(self) -> None:
        (*_, answer) = shown("event('climb', steps=1)")
        assert answer.keys() == {"content", "is_error"}

    def test_what_a_tool_sends_is_part_of_the_chats_trace_even_if_that_is_not_exported(self) -> None:
        code = """
from winterbourne.chat.infra import http_pool

@tool
async def look() -> str:
    \"\"\"Look.\"\"\"
    return http_pool.outgoing_headers.get()["traceparent"]

worker = ToolWorker(tools=[look])
call = event("look") | {"traceparent": "00-%s-%s-00" % ("a" * 32, "b" * 16)}
print(json.dumps(json.loads(asyncio.run(lines(call))[-1])))
"""
        assert printed(code)["content"] == f'"00-{"a" * 32}-{"b" * 16}-00"'


class TestOlderChats:
    def test_are_given_one_answer_and_no_progress(self) -> None:
        code = "print(json.dumps(asyncio.run(worker.handler(event('climb', stream=False, steps=2), CONTEXT))))"
        assert printed(code) == {"content": '"top"', "is_error": False}


STOP = """
async def stop(stop_key, *, before):
    chat = StopSignals(make_store(%r), 0.05)
    if before:
        await chat.send(stop_key, TOOL_CALL)
    stream = await worker.handler(event("linger", stop_key="remote:1"), CONTEXT)
    seen = [json.loads(await anext(stream))]
    if not before:
        await chat.send(stop_key, TOOL_CALL)
    seen += [json.loads(line) async for line in stream]
    return seen, ended

seen, ended = asyncio.run(stop(%r, before=%r))
print(json.dumps([seen[-1]["content"], ended]))
"""


class TestStop:
    def stopped(self, store: str, key: str = "remote:1", *, before: bool = False) -> Any:
        return printed(STOP % (store, key, before), STORE=store, STOP_POLL_INTERVAL="0.05")

    def test_in_the_shared_store_ends_the_tool(self, tmp_path: Path) -> None:
        answer, ended = self.stopped(f"file:{tmp_path}/store.db")
        assert "stopped before it was done" in answer
        assert ended == [True]

    def test_that_was_there_before_the_call_ends_it_too(self, tmp_path: Path) -> None:
        answer, _ = self.stopped(f"file:{tmp_path}/store.db", before=True)
        assert "stopped before it was done" in answer

    def test_of_another_call_does_not_end_this_one(self, tmp_path: Path) -> None:
        code = STOP.replace("remote:1", "remote:2", 1).replace('event("linger"', 'event("linger", timeout_s=0.6')
        answer, _ = printed(
            code % (store := f"file:{tmp_path}/store.db", "remote:1", False), STORE=store, STOP_POLL_INTERVAL="0.05"
        )
        assert "the remaining time" in answer or "did not finish" in answer

    def test_is_not_looked_for_without_a_store_that_is_shared(self) -> None:
        code = """
type(worker._stop_signals).wait = None  # which fails if it is called
print(json.dumps(json.loads(asyncio.run(lines(event("climb", stop_key="remote:1", steps=0)))[0])))
"""
        assert printed(code) == {"content": '"top"', "is_error": False}

    def test_is_not_looked_for_in_a_call_that_has_no_key(self, tmp_path: Path) -> None:
        code = """
type(worker._stop_signals).wait = None
print(json.dumps(json.loads(asyncio.run(lines(event("climb", steps=0)))[0])))
"""
        assert printed(code, STORE=f"file:{tmp_path}/store.db") == {"content": '"top"', "is_error": False}
