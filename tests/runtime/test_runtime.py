"""The runtime process that Lambda starts: init, shutdown, SnapStart, Managed Instances, and container images."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h11
import pytest

from tests import requirements
from tests.opt import OPT
from tests.runtime.harness import LAYER, program, url_event
from tests.runtime.runtime_api import RuntimeApi
from winterbourne.local.opt import make_opt

SNAP = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}


@pytest.fixture
def function(tmp_path: Path) -> Any:
    """Returns a function that writes the Lambda function's only module."""

    def write(code: str) -> Path:
        (tmp_path / "app.py").write_text(code)
        return tmp_path

    return write


class TestTheExecWrapper:
    async def test_starts_the_layer_with_the_python_it_is_given(self, function: Any) -> None:
        folder = function("import sys, os\ndef handler(event, context): return [sys.executable, os.getcwd()]")
        async with RuntimeApi() as api, program(api, folder, "app.handler") as running:
            assert (await api.invoke()).json == [sys.executable, str(folder)]
            assert await running.stop() == 0

    async def test_puts_no_folder_of_its_own_on_the_path(self, function: Any) -> None:
        folder = function("import sys\ndef handler(event, context): return sys.path")
        async with RuntimeApi() as api, program(api, folder, "app.handler"):
            path = (await api.invoke()).json
        layer = str(OPT / "python")
        site = f"{layer}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
        assert path[:3] == [str(folder), site, layer]
        assert str(OPT / "python" / "winterbourne") not in path
        assert layer not in path[3:]

    async def test_runs_another_wrapper_first(self, function: Any) -> None:
        folder = function("import os\ndef handler(event, context): return os.environ['TRACED']")
        other = folder / "other"
        other.write_text('#!/bin/sh\nTRACED=yes exec "$@"\n')
        other.chmod(0o755)
        environ = {"WINTERBOURNE_EXEC_WRAPPER": str(other)}
        async with RuntimeApi() as api, program(api, folder, "app.handler", **environ):
            assert (await api.invoke()).json == "yes"

    async def test_passes_on_secrets_and_names_with_spaces_untouched(self, function: Any) -> None:
        folder = function("import os\ndef handler(event, context): return os.environ['ODD']")
        async with RuntimeApi() as api, program(api, folder, "app.handler", ODD="a b'\"$c"):
            assert (await api.invoke()).json == "a b'\"$c"


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.12", "3.13"])
async def test_the_same_layer_serves_other_pythons(version: str, function: Any, tmp_path: Path) -> None:
    folder = function(
        "import sys\nasync def handler(event, context):\n    yield '%d.%d' % sys.version_info[:2]\n    raise ValueError"
    )
    layer = shutil.copytree(OPT, tmp_path / "opt")
    shutil.copytree(Path(h11.__file__).parent, layer / "python" / "h11")
    wrapper = (str(layer / "winterbourne"), requirements.python(version), "/var/runtime/bootstrap.py")
    async with RuntimeApi() as api, program(api, folder, "app.handler", *wrapper) as running:
        outcome = await api.invoke(url_event())
        assert outcome.payload == version.encode()
        assert outcome.trailing_error["errorType"] == "ValueError"
        assert await running.stop() == 0
    assert "Warning" not in running.err


class TestAContainerImage:
    """`pip install` from the layer's folder, ENTRYPOINT `python -m winterbourne`, CMD the handler."""

    @pytest.mark.slow
    async def test_serves_the_handler_that_is_named_as_an_argument(self, function: Any, tmp_path: Path) -> None:
        folder, packages = function("def handler(event, context): return [event]"), tmp_path / "packages"
        source = shutil.copytree(LAYER, tmp_path / "layer")  # a build leaves files in its folder
        uv = str(Path(sys.executable).with_name("uv"))
        install = [uv, "pip", "install", "-q", "--no-deps", "--target", str(packages), str(source)]
        subprocess.run(install, check=True)  # noqa: ASYNC221 - nothing else runs yet
        entrypoint = (sys.executable, "-m", "winterbourne", "app.handler")
        async with RuntimeApi() as api, program(api, folder, "wrong.name", *entrypoint, PYTHONPATH=str(packages)):
            assert (await api.invoke(1)).json == [1]


class TestInit:
    async def test_layers_of_two_versions_are_an_init_error_that_names_both(
        self, function: Any, tmp_path: Path
    ) -> None:
        opt = make_opt(tmp_path / "opt")
        for version in ("0.1.0", "0.2.0"):
            (opt / "python" / f"winterbourne-{version}.dist-info").mkdir()
        wrapper = (str(opt / "winterbourne"), sys.executable, "/var/runtime/bootstrap.py")
        folder = function("def handler(event, context): return 1")
        async with RuntimeApi() as api, program(api, folder, "app.handler", *wrapper) as running:
            assert await running.ended() == 1
            (error,) = api.calls
        assert error.path == "init/error"
        assert error.json["errorType"] == "Runtime.MixedVersions"
        assert "winterbourne 0.1.0 and winterbourne 0.2.0: build the layers anew" in error.json["errorMessage"]

    async def test_a_handler_that_cannot_be_imported_is_reported_with_its_traceback(self, function: Any) -> None:
        folder = function("def deep():\n    raise RuntimeError('at import')\ndeep()")
        async with RuntimeApi() as api, program(api, folder, "app.handler") as running:
            assert await running.ended() == 1
            (error,) = api.calls
        assert error.path == "init/error"
        assert error.headers["lambda-runtime-function-error-type"] == "Function.RuntimeError"
        assert error.json["errorMessage"] == "at import"
        assert "in deep" in error.json["stackTrace"][-1]
        assert "[ERROR] RuntimeError: at import\rTraceback (most recent call last):\r" in running.out

    async def test_a_report_rejected_because_another_came_first_changes_nothing(self, function: Any) -> None:
        api = RuntimeApi(reject={"error": 403})
        async with api, program(api, function("1 / 0"), "app.handler") as running:
            assert await running.ended() == 1
        assert "the init error could not be delivered" in running.out

    async def test_a_handler_that_raises_a_base_exception_ends_the_process(self, function: Any) -> None:
        folder = function("class Odd(BaseException): pass\nasync def handler(event, context): raise Odd('odd')")
        async with RuntimeApi() as api, program(api, folder, "app.handler") as running:
            api.submit()
            assert await running.ended() == 1
        assert "Odd: odd" in running.err

    async def test_a_module_that_exits_is_reported_too(self, function: Any) -> None:
        async with RuntimeApi() as api, program(api, function("raise SystemExit(7)"), "app.handler") as running:
            assert await running.ended() == 1
            assert api.calls[0].json["errorType"] == "SystemExit"

    async def test_a_startup_hook_that_fails_is_an_init_error(self, function: Any) -> None:
        folder = function(
            "from winterbourne import on_startup\n@on_startup\nasync def up(): raise OSError('no database')\n"
            "def handler(event, context): pass"
        )
        async with RuntimeApi() as api, program(api, folder, "app.handler") as running:
            assert await running.ended() == 1
            assert api.calls[0].json["errorMessage"] == "no database"

    @pytest.mark.parametrize("margin", ["soon", "-5"])
    async def test_an_invalid_deadline_margin_names_its_variable(self, margin: str, function: Any) -> None:
        folder = function("def handler(event, context): pass")
        environ = {"WINTERBOURNE_DEADLINE_MARGIN_MS": margin}
        async with RuntimeApi() as api, program(api, folder, "app.handler", **environ) as running:
            assert await running.ended() == 1
            assert api.calls[0].json["errorMessage"].startswith("WINTERBOURNE_DEADLINE_MARGIN_MS: ")

    async def test_a_module_may_run_a_loop_of_its_own_while_it_is_imported(self, function: Any) -> None:
        folder = function("import asyncio\nasyncio.run(asyncio.sleep(0))\ndef handler(event, context): return 1")
        async with RuntimeApi() as api, program(api, folder, "app.handler"):
            assert (await api.invoke()).json == 1

    async def test_neither_boto3_nor_a_web_server_is_imported(self, function: Any) -> None:
        folder = function("import sys\ndef handler(event, context): return sorted(sys.modules)")
        async with RuntimeApi() as api, program(api, folder, "app.handler"):
            modules = set((await api.invoke()).json)
        assert not modules & {"boto3", "botocore", "httpx", "uvicorn", "winterbourne.asgi", "importlib.metadata"}


class TestEnding:
    async def test_sigterm_runs_the_shutdown_hooks(self, function: Any) -> None:
        folder = function(
            "import asyncio\nfrom winterbourne import on_shutdown\n@on_shutdown\nasync def down():\n"
            "    await asyncio.sleep(0)\n    print('closed')\ndef handler(event, context): pass"
        )
        async with RuntimeApi() as api, program(api, folder, "app.handler") as running:
            await api.invoke()
            assert await running.stop() == 0
        assert running.out == "closed\n"

    async def test_a_function_that_retires_finishes_its_invocation_and_exits(self, function: Any) -> None:
        folder = function(
            "from winterbourne import on_shutdown, retire\non_shutdown(lambda: print('closed'))\n"
            "async def handler(event, context):\n    retire()\n    return 'last'"
        )
        async with RuntimeApi() as api, program(api, folder, "app.handler") as running:
            assert (await api.invoke()).json == "last"
            assert await running.ended() == 0
        assert running.out == "closed\n"

    async def test_a_thread_that_hangs_does_not_delay_it(self, function: Any) -> None:
        folder = function(
            "import threading\nfrom winterbourne import retire\n"
            "def handler(event, context):\n    retire()\n    threading.Event().wait()"
        )
        async with RuntimeApi() as api, program(api, folder, "app.handler") as running:
            error = await api.invoke(deadline_s=0.4)
            assert error.json["errorType"] == "DeadlineReached"
            assert await running.ended() == 0

    async def test_a_function_that_retires_lets_all_concurrent_invocations_finish(self, function: Any) -> None:
        folder = function(
            "import asyncio\nfrom winterbourne import retire\nasync def handler(event, context):\n"
            "    if event == 'retire':\n        retire()\n    else:\n        await asyncio.sleep(0.3)\n    return event"
        )
        environ = {"AWS_LAMBDA_MAX_CONCURRENCY": "3"}
        async with RuntimeApi() as api, program(api, folder, "app.handler", **environ) as running:
            slow = api.submit("slow")
            await api.invoke("retire")
            assert (await slow.outcome).json == "slow"
            assert await running.ended() == 0

    async def test_what_arrives_while_one_that_retires_still_streams_is_not_lost(self, function: Any) -> None:
        """Even if the Runtime API does not notice that the requests were withdrawn."""
        folder = function(
            "import asyncio\nfrom winterbourne import retire\nasync def handler(event, context):\n"
            "    if event == 'retire':\n        retire()\n"
            "    if event == 'slow':\n        await asyncio.sleep(0.5)\n    return event"
        )
        environ = {"AWS_LAMBDA_MAX_CONCURRENCY": "4"}
        async with RuntimeApi() as api, program(api, folder, "app.handler", **environ) as running:
            slow = api.submit("slow")
            await api.invoke("retire")
            assert [(await api.invoke(n)).json for n in range(2)] == [0, 1]
            assert (await slow.outcome).json == "slow"
            assert await running.ended() == 0

    async def test_a_hook_that_fails_is_logged(self, function: Any) -> None:
        folder = function(
            "from winterbourne import on_shutdown\non_shutdown(lambda: 1 / 0)\ndef handler(event, context): pass"
        )
        async with RuntimeApi() as api, program(api, folder, "app.handler") as running:
            await api.polled.wait()
            assert await running.stop() == 0
        assert "ZeroDivisionError" in running.out

    async def test_a_handler_that_exits_ends_the_process_as_under_the_stock_client(self, function: Any) -> None:
        folder = function("async def handler(event, context): raise SystemExit(9)")
        async with RuntimeApi() as api, program(api, folder, "app.handler") as running:
            api.submit()
            assert await running.ended() == 9

    async def test_without_a_runtime_api_it_exits_with_a_message(self, function: Any) -> None:
        folder = function("def handler(event, context): pass")
        api = RuntimeApi()
        api.address = "127.0.0.1:9"
        async with program(api, folder, "app.handler") as running:
            assert await running.ended() == 1
        assert "no invocation after 5 attempts" in running.out


class TestSnapStart:
    CODE = """
import os, random
from winterbourne import after_restore, before_snapshot, on_startup
from snapshot_restore_py import register_after_restore
order = []
random.seed(1)
on_startup(lambda: order.append("startup"))
before_snapshot(lambda: order.append("before"))
@after_restore
async def restored(): order.append("after")
register_after_restore(order.append, "theirs")
def handler(event, context): return [order, random.random()]
"""

    async def test_hooks_run_around_the_snapshot_and_random_is_reseeded(self, function: Any) -> None:
        async with RuntimeApi() as api, program(api, function(self.CODE), "app.handler", **SNAP):
            order, drawn = (await api.invoke()).json
        assert [call.path for call in api.calls] == ["restore/next"]
        assert order == ["startup", "before", "after", "theirs"]
        import random

        assert drawn != random.Random(1).random()

    async def test_sockets_are_reopened_after_a_restore(self, function: Any) -> None:
        async with RuntimeApi() as api, program(api, function(self.CODE), "app.handler", **SNAP):
            await api.invoke()
            assert api.connections == 2

    async def test_a_hook_that_fails_before_it_ends_with_64(self, function: Any) -> None:
        code = "from winterbourne import before_snapshot\nbefore_snapshot(lambda: 1 / 0)\ndef handler(e, c): pass"
        async with RuntimeApi() as api, program(api, function(code), "app.handler", **SNAP) as running:
            assert await running.ended() == 64
            assert api.calls[0].path == "init/error"
            assert api.calls[0].headers["lambda-runtime-function-error-type"] == "Runtime.BeforeSnapshotError"

    async def test_a_rejected_restore_ends_with_64(self, function: Any) -> None:
        api = RuntimeApi(reject={"next": 403})
        async with api, program(api, function(self.CODE), "app.handler", **SNAP) as running:
            assert await running.ended() == 64
            assert api.calls[-1].headers["lambda-runtime-function-error-type"] == "Runtime.BeforeSnapshotError"

    async def test_a_hook_that_fails_after_it_ends_with_65(self, function: Any) -> None:
        code = "from winterbourne import after_restore\nafter_restore(lambda: 1 / 0)\ndef handler(e, c): pass"
        async with RuntimeApi() as api, program(api, function(code), "app.handler", **SNAP) as running:
            assert await running.ended() == 65
            restored, error = api.calls
            assert (restored.path, error.path) == ("restore/next", "restore/error")
            assert error.headers["lambda-runtime-function-error-type"] == "Runtime.AfterRestoreError"

    async def test_a_hook_that_fails_after_it_ends_with_65_even_if_lambda_rejects_the_report(
        self, function: Any
    ) -> None:
        code = "from winterbourne import after_restore\nafter_restore(lambda: 1 / 0)\ndef handler(e, c): pass"
        api = RuntimeApi(reject={"error": 403})
        async with api, program(api, function(code), "app.handler", **SNAP) as running:
            assert await running.ended() == 65


class TestManagedInstances:
    """AWS_LAMBDA_MAX_CONCURRENCY: many invocations in one process."""

    CODE = """
import asyncio, logging, os
log = logging.getLogger("app")
meeting = asyncio.Barrier(4)
async def handler(event, context):
    await meeting.wait()
    log.warning("logged %s", event)
    print("printed", event)
    yield str(os.getpid())
"""

    async def test_they_share_one_process_and_every_line_has_its_own_request_id(self, function: Any) -> None:
        environ = {"AWS_LAMBDA_MAX_CONCURRENCY": "4", "AWS_LAMBDA_LOG_FORMAT": "JSON"}
        async with RuntimeApi() as api, program(api, function(self.CODE), "app.handler", **environ) as running:
            invocations = [api.submit(n, Lambda_Runtime_Aws_Tenant_Id=f"tenant-{n}") for n in range(4)]
            pids = {(await each.outcome).body for each in invocations}
            assert pids == {str(running.process.pid).encode()}
            assert await running.stop() == 0
        records = [json.loads(line) for line in running.out.splitlines()]
        found = {(r["message"], r["requestId"], r["tenantId"]) for r in records}
        assert found == {
            (f"{verb} {n}", each.request_id, f"tenant-{n}")
            for n, each in enumerate(invocations)
            for verb in ("logged", "printed")
        }

    async def test_output_goes_to_the_socket_that_lambda_collects_from(self, function: Any, tmp_path: Path) -> None:
        import asyncio

        got: list[bytes] = []
        complete = asyncio.Event()

        async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.append(await reader.read())
            writer.close()
            if len(got) == 2:
                complete.set()

        path = str(tmp_path / "logs.sock")
        server = await asyncio.start_unix_server(collect, path)
        environ = {
            "AWS_LAMBDA_MAX_CONCURRENCY": "2",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "_LAMBDA_TELEMETRY_LOG_FD_PROVIDER_SOCKET": path,
        }
        folder = function("def handler(event, context): print('collected')")
        async with RuntimeApi() as api, program(api, folder, "app.handler", **environ) as running:
            await api.invoke()
            await running.stop()
        await complete.wait()
        server.close()
        assert running.out == ""
        assert b'"message": "collected"' in b"".join(got)


async def test_under_sam_a_stream_is_an_ordinary_response(function: Any) -> None:
    folder = function("async def handler(event, context):\n    yield 'readable'")
    async with RuntimeApi() as api, program(api, folder, "app.handler", AWS_SAM_LOCAL="true"):
        assert (await api.invoke(url_event())).json["body"] == "readable"


def test_importing_the_public_names_opens_nothing_and_needs_no_h11() -> None:
    code = "import sys, winterbourne; print('h11' in sys.modules, 'winterbourne.client' in sys.modules)"
    environ = {**os.environ, "PYTHONPATH": str(LAYER / "python")}
    shown = subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True, text=True).stdout
    assert shown == "False False\n"


def test_without_a_runtime_api_it_says_in_one_line_what_brings_one() -> None:
    environ = {name: value for name, value in os.environ.items() if name != "AWS_LAMBDA_RUNTIME_API"}
    environ["PYTHONPATH"] = str(LAYER / "python")
    ended = subprocess.run(
        [sys.executable, "-m", "winterbourne", "app.handler"], env=environ, check=False, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "`winterbourne run`" in ended.stderr
