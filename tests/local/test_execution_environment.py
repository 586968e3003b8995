"""Execution environment: start, freeze, thaw, crash, timeout and log of a real function process."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.local.sinks import RAW, raw_function, running_pool, until
from winterbourne.local.response_limits import ResponseLimits

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes under /proc")


def state(pid: int) -> str:
    """The state as shown by ps: R running, S sleeping, T stopped; empty if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def is_gone(pid: int) -> bool:
    return state(pid) in {"", "Z"}


class TestTheProcess:
    async def test_starts_as_lambda_starts_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOMETHING_OF_THE_USERS", "x")
        async with running_pool(raw_function(variables={"MINE": "1"})) as run:
            seen = await run.surroundings()
        assert seen["cwd"] == str(RAW.parent)
        assert seen["argv"] == [str(RAW)]
        assert seen["env"]["_HANDLER"] == "raw"
        assert seen["env"]["MINE"] == "1"
        assert not {"SOMETHING_OF_THE_USERS", "PYTHONPATH", "VIRTUAL_ENV"} & seen["env"].keys()

    async def test_is_handed_to_the_exec_wrapper_with_python_and_bootstrap(self, tmp_path: Path) -> None:
        wrapper = tmp_path / "wrapper"
        wrapper.write_text(f'#!/bin/sh\nexec "$1" {RAW} "$@"\n')
        wrapper.chmod(0o755)
        async with running_pool(raw_function(wrapper=str(wrapper), bootstrap="/var/runtime/bootstrap.py")) as run:
            seen = await run.surroundings()
        assert seen["argv"][1:] == [sys.executable, "/var/runtime/bootstrap.py"]
        assert seen["env"]["AWS_LAMBDA_EXEC_WRAPPER"] == str(wrapper)

    async def test_lives_from_one_invocation_to_the_next(self) -> None:
        async with running_pool() as run:
            assert (await run.surroundings())["pid"] == (await run.surroundings())["pid"]

    async def test_that_died_is_replaced_for_the_next_invocation(self) -> None:
        async with running_pool() as run:
            first = await run.surroundings()
            await run("leave")
            second = await run.surroundings()
        assert first["pid"] != second["pid"]

    async def test_that_died_while_idle_is_replaced_too(self) -> None:
        async with running_pool() as run:
            pid = (await run.surroundings())["pid"]
            await until(lambda: bool(run.pool._idle))
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not run.pool._idle)
            assert (await run.surroundings())["pid"] != pid

    @needs_proc
    async def test_is_gone_with_its_children_when_the_environment_ends(self) -> None:
        async with running_pool(freeze_when_idle=False) as run:
            pid = (await run.surroundings())["pid"]
            child = json.loads((await run("spawn")).body)
        assert is_gone(pid)
        await until(lambda: is_gone(child))

    @needs_proc
    async def test_is_gone_even_if_it_was_frozen(self) -> None:
        async with running_pool() as run:
            pid = (await run.surroundings())["pid"]
            await until(lambda: state(pid) == "T")
        assert is_gone(pid)

    async def test_that_exits_after_sigterm_is_not_frozen_meanwhile(self, tmp_path: Path) -> None:
        polite = tmp_path / "polite.py"
        at_sigterm = "lambda *_: threading.Timer(0.4, os._exit, [0]).start()"
        head = f"import os, signal, threading; signal.signal(signal.SIGTERM, {at_sigterm})\n"
        polite.write_text(head + RAW.read_text())
        async with running_pool(raw_function(bootstrap=str(polite))) as run:
            await run("linger", seconds=0.2)
        process = run.environments[0]._process
        assert process
        assert process._process.returncode == 0

    @pytest.mark.slow
    @needs_proc
    async def test_that_ignores_sigterm_is_killed(self, tmp_path: Path) -> None:
        deaf = tmp_path / "deaf.py"
        deaf.write_text(f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{RAW.read_text()}")
        async with running_pool(raw_function(bootstrap=str(deaf))) as run:
            pid = (await run.surroundings())["pid"]
        assert is_gone(pid)


@needs_proc
class TestFreezing:
    async def test_the_process_and_its_children_are_stopped_between_invocations(self) -> None:
        async with running_pool() as run:
            pid = (await run.surroundings())["pid"]
            child = json.loads((await run("spawn")).body)
            await until(lambda: state(pid) == state(child) == "T")

    async def test_it_resumes_for_the_next_invocation(self) -> None:
        async with running_pool() as run:
            pid = (await run.surroundings())["pid"]
            await until(lambda: state(pid) == "T")
            assert (await run("echo", a=1)).body == b'{"do": "echo", "a": 1}'

    async def test_it_keeps_running_after_the_response_until_it_polls_again(self) -> None:
        async with running_pool() as run:
            pid = (await run.surroundings())["pid"]
            lingering = run.invocation("linger", seconds=0.3)
            await run.run(lingering)
            assert state(pid) != "T"
            assert not lingering.runtime_done.is_set()
            await lingering.runtime_done.wait()
            await until(lambda: state(pid) == "T")

    async def test_can_be_turned_off(self) -> None:
        async with running_pool(freeze_when_idle=False) as run:
            invocation = run.invocation("surroundings")
            pid = json.loads((await run.run(invocation)).body)["pid"]
            await invocation.runtime_done.wait()
            assert state(pid) in {"S", "R"}


class TestACrash:
    async def test_before_the_response_fails_the_invocation_with_the_exit_code(self) -> None:
        async with running_pool() as run:
            sink = await run("leave", code=9)
        assert sink.began is None
        assert sink.error
        assert (sink.error.type, sink.error.message) == (
            "Runtime.ExitError",
            "Runtime exited with error: exit status 9",
        )

    async def test_by_a_signal_names_it(self) -> None:
        async with running_pool() as run:
            hanging = run.invocation("hang")
            invoking = asyncio.create_task(run.run(hanging))
            await until(lambda: any(line.startswith("START") for line in run.log))
            process = run.environments[0]._process
            assert process
            process.signal(signal.SIGSEGV)
            sink = await invoking
        assert sink.error
        assert sink.error.message == "Runtime exited with error: signal: SIGSEGV"

    async def test_during_the_response_keeps_what_was_received(self) -> None:
        async with running_pool() as run:
            sink = await run("stream", pieces=["half"], then="exit")
        assert sink.body.endswith(b"half")
        assert sink.error
        assert sink.error.type == "Runtime.TruncatedResponse"


class TestTheTimeout:
    async def test_fails_the_invocation_and_ends_the_process(self) -> None:
        async with running_pool(raw_function(timeout_s=0.5)) as run:
            pid = (await run.surroundings())["pid"]
            sink = await run("hang")
            assert sink.error
            assert sink.error.type == "Sandbox.Timedout"
            assert sink.error.message.endswith("Task timed out after 0.50 seconds")
            assert (await run.surroundings())["pid"] != pid
        assert any(line.endswith("Task timed out after 0.50 seconds") for line in run.log)

    async def test_during_the_response_keeps_what_was_received(self) -> None:
        async with running_pool(raw_function(timeout_s=0.5)) as run:
            sink = await run("stream", pieces=["half"], then="hang")
        assert sink.body.endswith(b"half")
        assert sink.error
        assert sink.error.type == "Sandbox.Timedout"

    async def test_is_the_deadline_given_to_the_process(self) -> None:
        async with running_pool(raw_function(timeout_s=7)) as run:
            seen = await run.surroundings()
        assert 6 < int(seen["headers"]["lambda-runtime-deadline-ms"]) / 1000 - seen["time"] <= 7


class TestTheStart:
    @pytest.mark.parametrize(
        ("how", "type_", "message"),
        [
            ("fail", "Runtime.ImportModuleError", "no module"),
            ("exit", "Runtime.ExitError", "Runtime exited with error: exit status 7"),
        ],
    )
    async def test_that_fails_fails_the_invocation(self, how: str, type_: str, message: str) -> None:
        async with running_pool(raw_function(variables={"INIT": how})) as run:
            sink = await run("echo")
        assert sink.error
        assert (sink.error.type, sink.error.message) == (type_, message)

    async def test_of_a_missing_program_names_it(self) -> None:
        async with running_pool(raw_function(wrapper="/no/such/wrapper")) as run:
            sink = await run("echo")
        assert sink.error
        assert sink.error.message == "No such file or directory: /no/such/wrapper"

    async def test_that_takes_too_long_is_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("winterbourne.local.execution_environment.INIT_TIMEOUT_S", 0.2)
        async with running_pool(raw_function(variables={"INIT": "hang"}, timeout_s=0.2)) as run:
            sink = await run("echo")
        assert sink.error
        assert sink.error.type == "Sandbox.Timedout"

    async def test_before_any_request_logs_what_failed(self) -> None:
        async with running_pool(raw_function(variables={"INIT": "fail"})) as run:
            run.pool.start_environment()
            await until(lambda: not run.pool._tasks)
        ended, report = run.log
        assert ended == "Environment 1 ended: Runtime.ImportModuleError: no module"
        assert re.fullmatch(
            r"INIT_REPORT Init Duration: [\d.]+ ms\tPhase: init\tStatus: error\tError Type: Runtime.ImportModuleError",
            report,
        )

    async def test_with_snap_start_goes_through_the_restore(self) -> None:
        async with running_pool(raw_function(variables={"INIT": "restore"}, snap_start=True)) as run:
            seen = await run.surroundings()
        assert "restored 200" in run.log
        assert seen["env"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start"


class TestTheLog:
    async def test_has_lines_and_frames_between_start_and_end(self) -> None:
        async with running_pool() as run:
            invocation = run.invocation("log")
            await run.run(invocation)
            await invocation.runtime_done.wait()
        start, *said, end, report = invocation.log
        assert start == f"START RequestId: {invocation.request_id} Version: $LATEST"
        assert sorted(said) == ["a frame\nof two lines", "a line"]
        assert end == f"END RequestId: {invocation.request_id}"
        assert report.startswith(f"REPORT RequestId: {invocation.request_id}\tDuration: ")
        assert run.log == invocation.log

    async def test_reports_the_init_only_of_a_cold_start(self) -> None:
        async with running_pool() as run:
            for _ in range(2):
                invocation = run.invocation("echo")
                await run.run(invocation)
                await invocation.runtime_done.wait()
        reports = [line for line in run.log if line.startswith("REPORT")]
        assert ["Init Duration" in line for line in reports] == [True, False]

    async def test_reports_what_failed(self) -> None:
        async with running_pool() as run:
            await run("fail")
            await until(lambda: any("REPORT" in line for line in run.log))
        assert any("Error Type: Function.KeyError" in line for line in run.log)
        assert any(line.startswith("FAILED") and '"errorMessage": "no"' in line for line in run.log)

    async def test_has_what_error_trailers_say(self) -> None:
        async with running_pool() as run:
            await run("stream", pieces=["half"], then="fail")
            await until(lambda: any("REPORT" in line for line in run.log))
        (failed,) = [line for line in run.log if line.startswith("FAILED")]
        assert failed.endswith('Function.ValueError {"errorMessage": "boom", "errorType": "ValueError"}')


class TestManagedInstances:
    async def test_one_process_has_many_invocations_at_once(self) -> None:
        function = raw_function(bootstrap=str(RAW.with_name("raw_threads.py")), managed_instances=3)
        async with running_pool(function, size=1) as run:
            seen = await asyncio.gather(*(run("meet", guests=3) for _ in range(3)))
        pids = {json.loads(sink.body) for sink in seen}
        assert len(pids) == 1

    async def test_it_is_never_frozen(self) -> None:
        function = raw_function(bootstrap=str(RAW.with_name("raw_threads.py")), managed_instances=2)
        async with running_pool(function, size=1) as run:
            invocation = run.invocation("meet", guests=1)
            pid = json.loads((await run.run(invocation)).body)
            await invocation.runtime_done.wait()
            assert state(pid) != "T"

    async def test_a_timeout_ends_one_invocation_and_not_the_process(self) -> None:
        function = raw_function(bootstrap=str(RAW.with_name("raw_threads.py")), managed_instances=2, timeout_s=0.5)
        async with running_pool(function, size=1) as run:
            pid = json.loads((await run("meet", guests=1)).body)
            late = await run("hang")
            assert late.error
            assert late.error.type == "Sandbox.Timedout"
            assert json.loads((await run("meet", guests=1)).body) == pid


async def test_the_response_limits_are_enforced() -> None:
    async with running_pool(response_limits=ResponseLimits(burst_bytes=0, bytes_per_s=0, max_bytes=1024 * 1024)) as run:
        sink = await run("large", megabytes=2)
    assert sink.error
    assert sink.error.type == "Function.ResponseSizeTooLarge"
    assert len(sink.body) <= 1024 * 1024


async def test_a_stream_arrives_while_it_is_being_produced() -> None:
    async with running_pool() as run:
        invocation = run.invocation("stream", pieces=["one", "two"], pause_s=0.5)
        began = time.monotonic()
        invoking = asyncio.create_task(run.run(invocation))
        sink = invocation.sink
        await until(lambda: sink.body.endswith(b"one"))  # type: ignore[attr-defined]  # it is a RecordingSink
        assert not invocation.response_done.is_set()
        await invoking
        assert time.monotonic() - began > 0.5
