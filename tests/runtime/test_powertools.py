"""Powertools for AWS Lambda (logger and metrics) inside handlers of this layer."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.harness import program
from tests.runtime.runtime_api import RuntimeApi

APP = """
from aws_lambda_powertools import Logger, Metrics
from winterbourne import Response, streamify_response
logger = Logger(service="chat")
metrics = Metrics(namespace="Chat", service="chat")

@metrics.log_metrics
@logger.inject_lambda_context
def plain(event, context):
    logger.info("working")
    metrics.add_metric("Requests", "Count", 1)
    return "done"

@logger.inject_lambda_context
async def coroutine(event, context):
    logger.info("working")
    metrics.add_metric("Requests", "Count", 1)
    metrics.flush_metrics()
    return "done"

@logger.inject_lambda_context
async def generator(event, context):
    logger.info("working")
    metrics.add_metric("Requests", "Count", 1)
    yield "done"
    metrics.flush_metrics()

@logger.inject_lambda_context
@streamify_response
async def pushed(event, response_stream, context):
    logger.info("working")
    metrics.add_metric("Requests", "Count", 1)
    await response_stream.write("done")
    metrics.flush_metrics()
"""
ENVIRON = {
    "AWS_LAMBDA_FUNCTION_NAME": "chat",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    "POWERTOOLS_TRACE_DISABLED": "true",
}


@pytest.mark.slow
@pytest.mark.parametrize("log_format", ["Text", "JSON"])
@pytest.mark.parametrize("handler", ["plain", "coroutine", "generator", "pushed"])
async def test_logger_and_metrics_write_their_own_json(handler: str, log_format: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    environ = ENVIRON | {"AWS_LAMBDA_LOG_FORMAT": log_format}
    async with RuntimeApi() as api, program(api, tmp_path, f"app.{handler}", **environ) as running:
        outcome = await api.invoke({})
        await running.stop()
    assert b"done" in outcome.body
    assert outcome.streamed == (handler in {"generator", "pushed"})
    lines: list[Any] = [json.loads(line) for line in running.out.splitlines()]
    logged = next(line for line in lines if line.get("message") == "working")
    assert logged["function_request_id"] == "request-1"
    assert logged["cold_start"] is True
    metric = next(line for line in lines if "_aws" in line)
    assert metric["Requests"] == [1.0]


@pytest.mark.slow
async def test_log_metrics_flushes_before_an_async_handler_has_run_so_it_is_for_plain_ones(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from aws_lambda_powertools import Metrics\nmetrics = Metrics(namespace='Chat', service='chat')\n"
        "@metrics.log_metrics\nasync def handler(event, context): metrics.add_metric('Requests', 'Count', 1)"
    )
    async with RuntimeApi() as api, program(api, tmp_path, "app.handler", **ENVIRON) as running:
        await api.invoke({})
        await running.stop()
    assert "_aws" not in running.out
