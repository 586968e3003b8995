"""Parity: the same handlers and events under Lambda's own Python client and under this layer.

Where the two differ on purpose, a test in `TestDifferences` says how and why.
"""

import json
import os
import re
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.harness import program
from tests.runtime.runtime_api import Outcome, RuntimeApi

STOCK = (sys.executable, "-m", "awslambdaric")
ENVIRON = {
    "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
    "AWS_LAMBDA_FUNCTION_NAME": "chat",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/chat",
    "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
}
APP = """
import decimal, json, logging, os, sys
log = logging.getLogger("app")
def echo(event, context):
    return event
def attributes(event, context):
    plain = {n: getattr(context, n) for n in ("aws_request_id", "log_group_name", "log_stream_name", "function_name",
        "memory_limit_in_mb", "function_version", "invoked_function_arn", "tenant_id")}
    client = context.client_context and [context.client_context.custom, context.client_context.env,
        context.client_context.client and context.client_context.client.app_title]
    identity = [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id]
    return [plain, client, identity, context.w3c(), 0 < context.get_remaining_time_in_millis() <= 60000]
def number(event, context):
    return {"amount": decimal.Decimal("12.50"), "text": b"bytes", "nothing": None, "nan": decimal.Decimal("NaN")}
def raw(event, context):
    return b"raw bytes"
def raises(event, context):
    def deeper():
        raise KeyError("no such thing")
    deeper()
def divides(event, context):
    return len([event["one"] / 0,
        2])
def fails_silently(event, context):
    raise ValueError
class Own(Exception):
    pass
def raises_own(event, context):
    raise Own("gr\\u00fc\\u00df\\nline")
def unserializable(event, context):
    return object()
def trace(event, context):
    return os.environ.get("_X_AMZN_TRACE_ID")
def environment(event, context):
    return [os.environ.get("AWS_EXECUTION_ENV"), os.getcwd(), os.environ.get("_LAMBDA_TELEMETRY_LOG_FD")]
def logs(event, context):
    log.debug("a debug line")
    log.info("an info line %d", 5)
    log.warning("a warning", extra={"order": 7})
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("an exception")
    log.critical({"a": "dict"})
    context.log("logged as it is\\n")
class Instance:
    def __call__(self, event, context):
        return ["instance", event]
instance = Instance()
exits = None
"""
INVOCATIONS: list[tuple[str, Any, dict[str, str | None]]] = [
    ("echo", {"a": [1, 2.5, None, True, "grüß", "\u0000"]}, {}),
    ("echo", None, {}),
    ("echo", "text", {}),
    ("echo", b"not json", {}),
    ("echo", b"\xff\x00", {"Content_Type": "application/octet-stream"}),
    ("attributes", {}, {}),
    (
        "attributes",
        {},
        {
            "Lambda_Runtime_Client_Context": json.dumps(
                {
                    "custom": {"a": 1},
                    "env": {"b": 2},
                    "client": {"app_title": "t"},
                    "w3c": {"traceparent": "00", "x": 1},
                }
            ),
            "Lambda_Runtime_Cognito_Identity": json.dumps({"cognitoIdentityId": "i", "cognitoIdentityPoolId": "p"}),
            "Lambda_Runtime_Aws_Tenant_Id": "blue",
        },
    ),
    ("attributes", {}, {"Lambda_Runtime_Client_Context": "{"}),
    ("number", {}, {}),
    ("raw", {}, {}),
    ("raises", {}, {}),
    ("divides", {"one": 1}, {}),
    ("fails_silently", {}, {}),
    ("raises_own", {}, {}),
    ("unserializable", {}, {}),
    ("trace", {}, {}),
    ("trace", {}, {"Lambda_Runtime_Trace_Id": None}),
    ("environment", {}, {}),
    ("instance", 5, {}),
    ("echo", {}, {"Lambda_Runtime_Invocation_Id": "attempt-7"}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("function")
    (folder / "app.py").write_text(APP)
    (folder / "broken.py").write_text("def handler(:")
    (folder / "raises.py").write_text("raise OSError('at import')")
    return folder


async def run(
    folder: Path, handler: str, event: Any, headers: dict[str, str | None], *command: str, **environ: str
) -> tuple[Outcome, str]:
    """The outcome that Lambda receives, and the log."""
    arguments = (*command, handler) if command else ()
    async with RuntimeApi() as api, program(api, folder, handler, *arguments, **ENVIRON, **environ) as running:
        outcome = await api.invoke(event, **headers)
        running.process.terminate()
        await running.ended()
        return outcome, running.out


def outcome_as_lambda_sees_it(outcome: Outcome) -> dict[str, Any]:
    """The parts of an outcome that Lambda evaluates."""
    names = ("content-type", "lambda-runtime-invocation-id", "lambda-runtime-function-response-mode")
    body: Any = outcome.body
    if outcome.headers.get("content-type") == "application/json":
        body = re.sub(r"NaN", '"NaN"', outcome.body.decode())
        body = json.loads(body)
    cause = outcome.headers.get("lambda-runtime-function-xray-error-cause")
    return {
        "path": outcome.path,
        "body": body,
        "cause": cause and json.loads(cause),
        **{name: outcome.headers.get(name) for name in names},
    }


@pytest.mark.slow
@pytest.mark.parametrize(("handler", "event", "headers"), INVOCATIONS)
async def test_lambda_receives_the_same(handler: str, event: Any, headers: Any, folder: Path) -> None:
    stock, stock_log = await run(folder, f"app.{handler}", event, headers, *STOCK)
    ours, our_log = await run(folder, f"app.{handler}", event, headers)
    assert outcome_as_lambda_sees_it(ours) == outcome_as_lambda_sees_it(stock)
    assert our_log == stock_log


@pytest.mark.slow
@pytest.mark.parametrize("handler", ["app.missing", "nowhere.handler", "broken.handler", "nodot"])
async def test_an_init_error_is_the_same(handler: str, folder: Path) -> None:
    results = []
    for command in (STOCK, ()):
        arguments = (*command, handler) if command else ()
        async with RuntimeApi() as api, program(api, folder, handler, *arguments, **ENVIRON) as running:
            assert await running.ended() == 1
            (call,) = api.calls
            kind = call.headers["lambda-runtime-function-error-type"]
            results.append((call.path, kind, call.json, running.out.partition("[ERROR]")[2]))
    assert results[1] == results[0]


@pytest.mark.slow
@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("form", ["Text", "JSON"])
@pytest.mark.parametrize("level", ["", "DEBUG", "TRACE", "ERROR"])
async def test_log_records_are_the_same(level: str, form: str, frames: bool, folder: Path) -> None:  # noqa: FBT001 - parametrized
    environ = {"AWS_LAMBDA_LOG_FORMAT": form} | ({"AWS_LAMBDA_LOG_LEVEL": level} if level else {})
    stock = await _log(folder, STOCK, environ, frames=frames)
    ours = await _log(folder, (), environ, frames=frames)
    assert ours == stock
    assert stock


async def _log(folder: Path, command: tuple[str, ...], environ: dict[str, str], *, frames: bool) -> list[Any]:
    """Type and text of each frame, or the text of each line, without timestamps."""
    if not frames:
        _, out = await run(folder, "app.logs", {}, {}, *command, **environ)
        return [_timeless(out)]
    reading, writing = os.pipe()
    try:
        await run(folder, "app.logs", {}, {}, *command, **environ, _LAMBDA_TELEMETRY_LOG_FD=str(writing))
        data = os.read(reading, 1 << 20)
    finally:
        os.close(reading)
        os.close(writing)
    found = []
    while data:
        kind, length, microseconds = struct.unpack(">IIQ", data[:16])
        assert microseconds > 1_600_000_000_000_000
        found.append((hex(kind), _timeless(data[16 : 16 + length].decode())))
        data = data[16 + length :]
    return found


def _timeless(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?", "TIME", text)


class TestDifferences:
    """Deliberate differences from the stock client, and the reasons."""

    @pytest.mark.slow
    async def test_an_error_at_import_is_shown_without_the_frames_of_importlib(self, folder: Path) -> None:
        """They are five lines that do not help the developer; the rest is the same."""
        async with RuntimeApi() as api, program(api, folder, "raises.handler", *STOCK, "raises.handler") as running:
            await running.ended()
            stock = api.calls[0].json
        async with RuntimeApi() as api, program(api, folder, "raises.handler") as running:
            await running.ended()
            ours = api.calls[0].json
        assert ours == {**stock, "stackTrace": stock["stackTrace"][-1:]}

    @pytest.mark.slow
    async def test_the_error_header_bears_lambdas_namespace(self, folder: Path) -> None:
        """Lambda shows any other name as Runtime.Unknown."""
        stock, _ = await run(folder, "app.raises", {}, {}, *STOCK)
        ours, _ = await run(folder, "app.raises", {}, {})
        assert ours.headers["lambda-runtime-function-error-type"] == "Function.KeyError"
        assert stock.headers.get("lambda-runtime-function-error-type") != "Function.KeyError"

    @pytest.mark.slow
    async def test_in_json_what_is_printed_is_a_record_with_its_request_id(self, folder: Path) -> None:
        """The stock client writes a bare line that nothing connects to its request."""
        (folder / "prints.py").write_text("def handler(event, context): print('said')")
        _, stock = await run(folder, "prints.handler", {}, {}, *STOCK, AWS_LAMBDA_LOG_FORMAT="JSON")
        _, ours = await run(folder, "prints.handler", {}, {}, AWS_LAMBDA_LOG_FORMAT="JSON")
        assert stock == "said\n"
        record = json.loads(ours)
        assert (record["message"], record["level"], record["requestId"]) == ("said", "INFO", "request-1")

    @pytest.mark.slow
    async def test_a_named_tuple_is_an_array(self, folder: Path) -> None:
        """The standard library's json writes an array, as for any tuple; its simplejson an object."""
        (folder / "named.py").write_text(
            "import collections\nP = collections.namedtuple('P', 'x y')\ndef handler(event, context): return P(1, 2)"
        )
        stock, _ = await run(folder, "named.handler", {}, {}, *STOCK)
        ours, _ = await run(folder, "named.handler", {}, {})
        assert (stock.json, ours.json) == ({"x": 1, "y": 2}, [1, 2])
