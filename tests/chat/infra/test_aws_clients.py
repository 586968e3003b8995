"""boto3 clients: one per service and region, shared by all threads, with short timeouts."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import winterbourne
from winterbourne.chat.infra import aws_clients


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setattr(aws_clients, "_CLIENTS", {})


def test_concurrent_threads_share_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[str] = []

    def make_client(service: str, **_: object) -> object:
        time.sleep(0.01)  # long enough for the other threads to create theirs meanwhile
        created.append(service)
        return object()

    monkeypatch.setattr("boto3.client", make_client)
    with ThreadPoolExecutor(8) as thread_pool:
        clients = set(thread_pool.map(lambda _: aws_clients.client("dynamodb"), range(8)))
    assert len(clients) == len(created) == 1


def test_another_region_has_another_client() -> None:
    here, there = aws_clients.client("ssm"), aws_clients.client("ssm", "us-east-1")
    assert (here.meta.region_name, there.meta.region_name) == ("eu-west-1", "us-east-1")


def test_a_call_gives_up_in_seconds() -> None:
    config = aws_clients.client("ssm").meta.config
    attempts = config.retries["total_max_attempts"]
    assert (config.connect_timeout + config.read_timeout) * attempts <= 25


def test_importing_it_imports_no_boto() -> None:
    check = "import sys, winterbourne.chat.infra.aws_clients; assert not {'boto3', 'botocore'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=Path(winterbourne.__file__).parents[1])
