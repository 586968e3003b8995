"""Process setup of the chat and the tool worker: what it keeps out of the log and out of standard output and error."""

import json

import pytest

from tests.chat.processes import run

SECRETS = {
    "OPENAI_API_KEY": "made-up-key-1",
    "API_KEYS": '{"nora":"made-up-key-2"}',
    "AWS_SECRET_ACCESS_KEY": "made-up-key-3",
    "AWS_SESSION_TOKEN": "made-up-key-4",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": "made-up-key-5",
}

LOGS = """
import logging, os, sys
from winterbourne.chat.infra import exception_text
from winterbourne import logs
logs.configure_logging({})
__import__(app)
text = " ".join(os.environ.values())
logging.getLogger("winterbourne.chat.tool_runtime").warning(text)
logging.getLogger("a.library").warning(text)
print(text, file=sys.stderr)
print(text)
"""


@pytest.mark.parametrize("app", ["chat.app", "tool_worker.app"])
def test_no_line_contains_a_secret_of_the_environment(app: str) -> None:
    output = run(f"app = {app!r}\n{LOGS}", MODEL_PROVIDER="scripted", **SECRETS)
    assert output.count("[redacted]") >= 3 * len(SECRETS)
    assert "made-up-key" not in output


def test_a_metric_stays_valid_whatever_the_secrets() -> None:
    code = """
    import json
    from winterbourne import logs
    logs.configure_logging({})
    from chat import app
    print(json.dumps({"_aws": {"Timestamp": 1795652000000}, "tool": "1795652000000"}))
    """
    line = run(code, OPENAI_API_KEY="1795652", MODEL_PROVIDER="scripted").splitlines()[-1]
    assert json.loads(line) == {"_aws": {"Timestamp": 1795652000000}, "tool": "[redacted]000000"}


@pytest.mark.parametrize("app", ["chat.app", "tool_worker.app"])
@pytest.mark.parametrize(("log_messages", "shown"), [("false", False), ("true", True)])
def test_the_error_of_a_forgotten_task_is_logged_with_its_message_only_if_allowed(
    app: str, log_messages: str, *, shown: bool
) -> None:
    output = run(
        f"""
        import gc
        from {app.partition(".")[0]} import app

        async def fails(ship):
            raise ValueError(f"no {{ship}}")

        async def main():
            await lifecycle.run_startup()
            asyncio.create_task(fails("Endeavour"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            gc.collect()

        asyncio.run(main())
        """,
        LOG_MESSAGES=log_messages,
        MODEL_PROVIDER="scripted",
    )
    assert "Task exception was never retrieved" in output
    assert ("no Endeavour" in output) == shown


def test_the_worker_returns_no_error_details_to_its_caller() -> None:
    output = run(
        """
        from tool_worker import app

        @tool
        async def breaks(ship: str) -> str:
            \"\"\"Break.\"\"\"
            raise OSError(f"login failed for harbour:s3cr3t-pw ({ship})")

        app.worker._executor.add(breaks)
        event = {"tool": "breaks", "arguments": {"ship": "Endeavour"}, "timeout_s": 5}
        print("answer", asyncio.run(app.handler(event, CONTEXT)))
        """
    )
    log, _, answer = output.rpartition("answer ")
    assert answer == "{'content': 'breaks failed because of an internal error.', 'is_error': True}"
    assert "login failed for harbour:s3cr3t-pw ([argument])" in log
    assert "Endeavour" not in log
