"""Startup banner of the local server: the command to paste, the log, and what is real and what is a stub."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from winterbourne.local.banner import format_banner
from winterbourne.local.function_config import FunctionConfig
from winterbourne.local.server import Addresses, ServerConfig


def banner_text(*, chat: bool = True, use_stub_services: bool = True, invoke_url: str = "", **variables: str) -> str:
    function = FunctionConfig(task_root=Path(), handler="h", variables=variables)
    config = ServerConfig(function=function, use_stub_services=use_stub_services, log_file=Path("/x/local.log"))
    return format_banner(config, Addresses("http://127.0.0.1:3000", invoke_url), chat=chat)


def pasted_command(text: str) -> list[Any]:
    return shlex.split(text.strip().splitlines()[-1])


def test_it_has_a_line_to_paste() -> None:
    curl, flag, url, _, header, _, body = pasted_command(banner_text())
    assert (curl, flag, url, header) == ("curl", "-N", "http://127.0.0.1:3000/chat", "content-type: application/json")
    assert json.loads(body)["messages"][0]["role"] == "user"


def test_it_says_where_the_log_is() -> None:
    assert "/x/local.log" in banner_text()


def test_it_says_what_is_not_real() -> None:
    text = banner_text()
    assert "no real model" in text
    assert "practice data: made-up" in text


def test_it_says_what_is_real() -> None:
    text = banner_text(use_stub_services=False, MODEL_PROVIDER="openai")
    assert "scripted" not in text
    assert "practice" not in text
    assert "openai" in text


def test_it_names_the_function_for_boto3() -> None:
    assert "http://127.0.0.1:3001  (function name: local)" in banner_text(invoke_url="http://127.0.0.1:3001")


def test_for_another_function_it_does_not_mention_the_chat() -> None:
    text = banner_text(chat=False, use_stub_services=False)
    assert pasted_command(text) == ["curl", "-N", "http://127.0.0.1:3000/"]
    assert "model" not in text


@pytest.mark.parametrize(
    ("door", "path"), [("invoke", "/2015-03-31/functions/local/invocations"), ("agentcore", "/invocations")]
)
def test_it_asks_where_a_door_has_its_only_path_and_names_no_page(door: str, path: str) -> None:
    config = ServerConfig(function=FunctionConfig(task_root=Path(), handler="h"), door=door)
    text = format_banner(config, Addresses("http://127.0.0.1:1", ""), chat=True)
    _, _, url, _, _, _, body = pasted_command(text)
    assert url == f"http://127.0.0.1:1{path}"
    assert json.loads(body).keys() & {"messages", "requestContext"}
    assert "chat page" not in text


def test_it_names_the_door_and_finds_the_metrics_beside_it() -> None:
    config = ServerConfig(function=FunctionConfig(task_root=Path(), handler="h"), door="rest")
    text = format_banner(config, Addresses("http://127.0.0.1:1/v1", ""), chat=True)
    assert re.search(r"^rest +http://127.0.0.1:1/v1$", text, re.MULTILINE)
    assert "http://127.0.0.1:1/__local/metrics" in text
