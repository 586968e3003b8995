"""Worker processes: whatever a tool does in one, it is one failed call of that tool, and nothing else notices.

That they are killed, also in C code, when a call times out or is stopped, is in `test_promises`.
"""

import asyncio
import contextlib
import contextvars
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import orjson
import pytest

from tests.chat.tool_runtime import isolated_idle, isolated_tools
from tests.chat.tool_runtime.recording_clients import RecordingClient, run_turn, tool_call
from tests.clock import jumping
from tests.upstream import saying, upstream
from winterbourne.chat.core.events import EventBatch
from winterbourne.chat.core.messages import ToolMessage
from winterbourne.chat.errors import InvalidToolDeclaration
from winterbourne.chat.infra.tracing import outgoing_headers
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.declaration import Tool, tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor
from winterbourne.chat.tool_runtime.processes import extend_over_freezes
from winterbourne.chat.tool_runtime.remote import remote_tool
from winterbourne.override import override

TOOLS = [value for value in vars(isolated_tools).values() if isinstance(value, Tool)]
KEYS = {"SHOP_API_KEY": "an-important-key", "SHOP_URL": "https://shop.example.com"}
PATH = os.pathsep.join(entry for entry in sys.path if entry)


@contextlib.asynccontextmanager
async def running_executor(limit: int = 8) -> AsyncIterator[ToolExecutor]:
    executor = ToolExecutor(TOOLS, ToolSettings(tool_executor_max_workers=limit), keys=KEYS)
    try:
        yield executor
    finally:
        await executor.close()


async def call(executor: ToolExecutor, name: str, /, **arguments: object) -> ToolMessage:
    (message,) = await run_turn(executor, tool_call(name, **arguments))
    return message


async def until_there(path: Path) -> None:
    while not path.exists():  # noqa: ASYNC110, ASYNC240 - a process sends no event
        await asyncio.sleep(0.01)


class TestTrace:
    @pytest.mark.parametrize("name", ["fetches", "fetches_later"])
    async def test_what_a_tool_sends_is_part_of_its_call(self, name: str) -> None:
        async with upstream(saying(b"{}")) as service, running_executor() as executor:
            for number in range(2):  # of one process
                traceparent = f"00-{'a' * 32}-{number:016x}-01"
                token = outgoing_headers.set({"traceparent": traceparent})
                assert (await call(executor, name, url=service.url)).content == "200"
                outgoing_headers.reset(token)
                assert service.requests[-1].headers["traceparent"] == traceparent


class TestACall:
    @pytest.mark.parametrize("name", ["add", "add_later"])
    async def test_runs_in_another_process_whatever_the_function_is(self, name: str) -> None:
        async with running_executor() as executor:
            assert (await call(executor, name, one=2, other=3)).content == "5"
            assert (await call(executor, "process_id")).content != str(os.getpid())

    async def test_uses_the_process_of_the_call_before(self) -> None:
        async with running_executor() as executor:
            processes = {(await call(executor, "process_id")).content for _ in range(3)}
        assert len(processes) == 1

    async def test_has_a_process_of_its_own_beside_others_up_to_the_limit(self, tmp_path: Path) -> None:
        async with running_executor(limit=2) as executor:
            client = RecordingClient()
            async with executor.turn(client) as turn:
                for number in "123":
                    turn.start(tool_call("waits_for", number, path=str(tmp_path / number)))
                await until_there(tmp_path / "1.pid")
                await until_there(tmp_path / "2.pid")
                assert client.kinds("3") == ["Queued"]
                for number in "123":
                    (tmp_path / number).touch()
                assert [message.content for message in await turn.results()] == ['"there"'] * 3
            assert (tmp_path / "1.pid").read_text() != (tmp_path / "2.pid").read_text()
            assert (await call(executor, "add", one=1)).content == "2"  # in place of an idle one
            assert len(executor._preparer.processes._workers) == 2

    async def test_has_its_context_and_the_keys_it_declares(self) -> None:
        client = RecordingClient()
        async with running_executor() as executor, executor.turn(client, request_id="r-1", caller_id="me") as turn:
            turn.start(tool_call("context_of"))
            (message,) = await turn.results()
        expected = {"key": 16, "setting": KEYS["SHOP_URL"], "request_id": "r-1", "caller": "me", "has_time": True}
        assert orjson.loads(message.content) == expected

    async def test_is_told_how_much_time_it_has_without_what_the_start_has_taken(self) -> None:
        times: list[float] = []

        async def emit(_: EventBatch) -> None:
            times.append(asyncio.get_running_loop().time())

        executor = ToolExecutor([isolated_idle.deadline])
        async with executor.turn(emit) as turn:
            turn.start(tool_call("deadline"))
            (message,) = await turn.results()
        ends, age_s = orjson.loads(message.content)
        started, _ = times
        assert ends - started - 20 <= age_s  # the age, without what was before it
        await executor.close()

    async def test_sees_no_secret_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        secret = (
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "OPENAI_API_KEY",
            "SHOP_API_KEY",
            "X_SECRET_ARN",
            "PGPASS",
        )
        for name in secret:
            monkeypatch.setenv(name, "a-secret-value")
        async with running_executor() as executor:
            variables = orjson.loads((await call(executor, "variables")).content)
        assert "PATH" in variables
        assert not set(secret) & set(variables)

    async def test_a_secret_in_its_result_is_masked(self) -> None:
        async with running_executor() as executor:
            assert (await call(executor, "shows_its_key")).content == '"[redacted]"'

    async def test_a_large_result_is_cut(self) -> None:
        async with running_executor() as executor:
            content = (await call(executor, "large")).content
        assert len(content) <= 300
        assert "the result has 1000002 bytes" in content

    @pytest.mark.parametrize("name", ["generates", "generates_later"])
    async def test_the_items_of_a_generator_are_progress_and_the_last_is_the_result(self, name: str) -> None:
        client = RecordingClient()
        async with running_executor() as executor:
            (message,) = await run_turn(executor, tool_call(name, steps=2), client=client)
        assert client.progress("1") == ["step 0", "step 1"]
        assert message.content == '"done"'

    @pytest.mark.parametrize("name", ["waits_in_threads", "waits_and_yields", "waits_beside_the_loop"])
    async def test_may_await_in_any_of_its_threads(self, name: str) -> None:
        async with running_executor() as executor:
            content = (await call(executor, name)).content
        assert content in {"16", str([16] * 50).replace(" ", "")}

    async def test_sends_no_progress_of_the_call_before(self) -> None:
        client = RecordingClient()
        async with running_executor() as executor:
            await call(executor, "leaves_a_thread", leaves=True)
            await run_turn(executor, tool_call("leaves_a_thread", leaves=False), client=client)
        assert not client.progress("1")

    async def test_a_flood_of_progress_is_thinned(self) -> None:
        client = RecordingClient()
        async with running_executor() as executor:
            await run_turn(executor, tool_call("floods"), client=client)
        assert 1 <= len(client.progress("1")) < 300

    async def test_what_it_prints_is_in_the_log_up_to_a_limit(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        async with running_executor() as executor:
            await call(executor, "prints", text="hello " * 100, times=1000)
        lines = [record.getMessage() for record in caplog.records if "wrote" in record.getMessage()]
        assert lines[0].startswith("tool prints wrote: hello hello")
        assert sum(map(len, lines)) < 80 * 1024

    async def test_what_it_prints_is_logged_as_of_its_request(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        request = contextvars.ContextVar("request", default="none")
        seen: list[str] = []

        class Requests(logging.Filter):
            @override
            def filter(self, record: logging.LogRecord) -> bool:
                seen.extend([request.get()] if "wrote" in record.msg else [])
                return True

        with caplog.filtering(Requests()):
            async with running_executor() as executor:
                for number, name in enumerate(("first", "second"), 1):
                    request.set(name)
                    await call(executor, "prints", text="hello", times=1)
                    while len(seen) < 2 * number:  # noqa: ASYNC110 - a thread reads what a process writes
                        await asyncio.sleep(0.01)
        assert seen == ["first", "first", "second", "second"]

    @pytest.mark.parametrize(
        ("kind", "content"),
        [
            ("refused", "Not on Sundays."),
            ("unavailable", "Low tide."),
            ("a secret", "raises failed because of an internal error."),
            ("no text", "a file ?"),
        ],
    )
    async def test_what_it_raises_is_told_as_of_any_tool(
        self, kind: str, content: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with running_executor() as executor:
            message = await call(executor, "raises", kind=kind)
            assert (message.content, message.is_error) == (content, True)
        assert ("KeyError" in caplog.text) == (kind == "a secret")


class TestAMisbehavingTool:
    @pytest.mark.parametrize("how", ["segfault", "os._exit"])
    async def test_that_ends_its_process_is_one_failed_call(self, how: str, caplog: pytest.LogCaptureFixture) -> None:
        async with running_executor() as executor:
            message = await call(executor, "crashes", how=how)
            assert message.content == "The process of crashes ended while it ran this call."
            assert (await call(executor, "crashes", how="")).content == '"alive"'
        assert f"has ended: {-signal.SIGSEGV if how == 'segfault' else 3}" in caplog.text

    @pytest.mark.parametrize(
        ("how", "content"),
        [
            ("reads", '"nothing"'),
            ("is ended", '"ended by -15"'),
            ("returns", '"the parent"'),
            ("outlives", "The process of has_children ended while it ran this call."),
        ],
    )
    async def test_that_starts_processes_answers_for_itself_and_at_once(self, how: str, content: str) -> None:
        async with running_executor() as executor:
            for _ in range(2):
                assert (await call(executor, "has_children", how=how)).content == content

    async def test_that_takes_too_much_memory_fails_alone(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        async with running_executor() as executor:
            assert (await call(executor, "allocates", megabytes=60)).content == str(60 << 20)
            message = await call(executor, "allocates", megabytes=60)
            assert message.content == "allocates needs more memory than it may have."
            assert (await call(executor, "allocates", megabytes=60)).content == str(60 << 20)  # nothing is kept
            assert _wait_for(lambda: "MemoryError" in caplog.text)


class TestTheEndOfTheEnvironment:
    async def test_closing_the_executor_ends_all_processes(self) -> None:
        async with running_executor() as executor:
            await call(executor, "add", one=1)
            (worker,) = executor._preparer.processes._workers
        assert worker.result().process.wait(5) == -signal.SIGKILL

    @pytest.mark.parametrize("is_busy", [False, True])
    def test_a_killed_parent_leaves_none_behind_not_even_one_in_c_code(self, tmp_path: Path, *, is_busy: bool) -> None:
        parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(tmp_path), str(int(is_busy))], env=_env())
        try:
            assert _wait_for((tmp_path / "pid").exists)
            process_id = int((tmp_path / "pid").read_text())
        finally:
            parent.kill()
            parent.wait()
        assert _wait_for(lambda: not _is_running(process_id))


class TestAFreeze:
    def test_a_call_over_a_freeze_is_judged_by_its_own_clock(self, tmp_path: Path) -> None:
        """Parent and child are stopped for longer than the tool's timeout, and go on."""
        command = [sys.executable, "-c", _FROZEN, str(tmp_path / "go")]
        parent = subprocess.Popen(command, env=_env(), stdout=subprocess.PIPE, process_group=0)
        try:
            assert _wait_for((tmp_path / "go.pid").exists)
            os.killpg(parent.pid, signal.SIGSTOP)
            _pause(2.5)  # the timeout is 2 s
            os.killpg(parent.pid, signal.SIGCONT)
            _pause(0.3)  # long enough for a timer that is overdue
            (tmp_path / "go").touch()
            assert parent.communicate(timeout=20)[0] == b'"there"\n'
        finally:
            parent.kill()

    @pytest.mark.parametrize(("timeout_s", "deadline_s", "ends_s"), [(1.5, 60, 1.5), (60, 1, 1)])
    def test_without_one_a_call_ends_at_its_timeout_or_the_deadline_of_its_turn(
        self, timeout_s: float, deadline_s: float, ends_s: float
    ) -> None:
        @jumping
        async def run() -> None:
            now = asyncio.get_running_loop().time
            started = now()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None) as timeout:
                    with extend_over_freezes(timeout, timeout_s, started + deadline_s):
                        await asyncio.sleep(600)
            assert now() - started == pytest.approx(ends_s)

        run()


class TestDeclaration:
    """A process finds a tool by the module of its function and by its name; a tool that it would not is left out."""

    def test_not_one_in_a_function(self) -> None:
        @tool(isolation="process")
        def closure() -> None:
            """Be nowhere."""

        with pytest.raises(InvalidToolDeclaration, match="Tool closure has isolation: it must be a name in the module"):
            ToolExecutor([closure])

    def test_not_one_of_the_main_module(self) -> None:
        ran = subprocess.run([sys.executable, "-c", _MAIN], env=_env(), capture_output=True, text=True, check=False)
        assert "Tool here has isolation: it must be a name in the module" in ran.stderr

    def test_not_one_whose_functions_module_does_not_have_it(self) -> None:
        lost = tool(isolation="process", name="lost")(_is_running)
        with pytest.raises(InvalidToolDeclaration, match="Tool lost has isolation"):
            ToolExecutor([lost])

    def test_not_one_that_runs_elsewhere(self) -> None:
        elsewhere = remote_tool("worker", isolation="process", name="elsewhere")(_is_running)
        with pytest.raises(InvalidToolDeclaration, match="Tool elsewhere has isolation"):
            ToolExecutor([elsewhere])

    def test_nor_one_with_a_batch_function(self) -> None:
        with pytest.raises(InvalidToolDeclaration, match="`isolation` does not go with `batch`"):
            tool(isolation="process", batch=call)(_is_running)


class TestCost:
    def test_importing_what_a_tool_needs_brings_neither_httpx_nor_asyncio(self) -> None:
        code = (
            "import sys; from winterbourne.chat import ToolContext, ToolError, tool;"
            " import winterbourne.chat.tool_runtime.process_worker;"
            " print(sorted({'httpx', 'asyncio', 'ssl', 'aws_lambda_powertools'} & set(sys.modules)))"
        )
        ran = subprocess.run([sys.executable, "-c", code], env=_env(), capture_output=True, check=True)
        assert ran.stdout.strip() == b"[]"

    async def test_an_idle_process_has_at_most_12_mb_for_itself(self) -> None:
        executor = ToolExecutor([isolated_idle.private_kb])
        assert int((await call(executor, "private_kb")).content) <= 12 * 1024
        await executor.close()


_MAIN = """
from winterbourne.chat import tool
from winterbourne.chat.tool_runtime.executor import ToolExecutor

@tool(isolation="process")
def here() -> None:
    "Doc."

ToolExecutor([here])
"""

_PARENT = """
import asyncio, os, pathlib, sys
from tests.chat.tool_runtime import isolated_tools
from tests.chat.tool_runtime.recording_clients import run_turn, tool_call
from winterbourne.chat.tool_runtime.executor import ToolExecutor

async def main(folder, is_busy):
    executor = ToolExecutor([isolated_tools.process_id_and_then])
    (message,) = await run_turn(executor, tool_call("process_id_and_then", length=1))
    calls = run_turn(executor, tool_call("process_id_and_then", length=60 if is_busy else 1))
    task = asyncio.create_task(calls)
    await asyncio.sleep(0.3)
    (folder / "pid.new").write_text(message.content)
    (folder / "pid.new").rename(folder / "pid")
    await asyncio.sleep(60)

asyncio.run(main(pathlib.Path(sys.argv[1]), int(sys.argv[2])))
"""

_FROZEN = """
import asyncio, os, sys
from tests.chat.tool_runtime import isolated_tools
from tests.chat.tool_runtime.recording_clients import run_turn, tool_call
from winterbourne.chat.settings import ToolSettings
from winterbourne.chat.tool_runtime.executor import ToolExecutor

async def main(path):
    executor = ToolExecutor([isolated_tools.waits_for], ToolSettings(tool_execution_timeout=2))
    await run_turn(executor, tool_call("waits_for", path=os.path.dirname(path)))  # however long the start takes
    (message,) = await run_turn(executor, tool_call("waits_for", path=path))
    print(message.content, flush=True)
    await executor.close()

asyncio.run(main(sys.argv[1]))
"""


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": PATH}


def _pause(seconds: float) -> None:
    signal.sigtimedwait([], seconds)


def _wait_for(condition: Callable[[], bool], seconds: float = 20) -> bool:
    for _ in range(round(seconds / 0.02)):
        if condition():
            return True
        _pause(0.02)
    return False


def _is_running(process_id: int) -> bool:
    """Whether there is a process that is no zombie."""
    try:
        return "(zombie)" not in Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return False
