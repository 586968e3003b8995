"""Calls of AWS services: signed JSON over the pool, seconds and three attempts at most, errors by their codes."""

import asyncio
import contextlib
import functools
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable
from datetime import datetime
from email.utils import formatdate
from typing import Any
from unittest import mock

import boto3
import botocore.session
import httpx
import pytest
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

from tests.chat.stores import TABLE, TEST_ACCOUNT, aws
from tests.clock import jumping
from tests.upstream import Exchange, Script, Upstream, saying, upstream
from winterbourne.chat.errors import AwsCallFailed, SettingsError
from winterbourne.chat.infra import aws_calls, http_pool, redaction, sigv4
from winterbourne.chat.infra.aws_calls import (
    CALL_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    DOMAINS,
    MAX_ATTEMPTS,
    READ_TIMEOUT_S,
    THROTTLED,
    call,
    configured_endpoint,
    public_endpoint,
)
from winterbourne.chat.settings import HttpSettings

FIELDS = {"TableName": TABLE, "Key": {"pk": {"S": "p"}, "body": {"B": b"\x00\xff"}}}
ENDPOINTS = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_USE_FIPS_ENDPOINT",
)


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ENDPOINTS, "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in TEST_ACCOUNT.items():
        monkeypatch.setenv(name, value)


def refusing(status: int, code: str, message: str = "words", date: str = "") -> Script:
    async def answer(exchange: Exchange) -> None:
        await exchange.start(status, content_type="application/x-amz-json-1.0", **({"date": date} if date else {}))
        await exchange.send(
            json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}).encode()
        )
        await exchange.end()

    return answer


def skewed(ahead_s: float) -> Script:
    """As DynamoDB, whose clock is ahead by so much, refuses what was signed by another."""
    return refusing(400, "InvalidSignatureException", date=formatdate(time.time() + ahead_s, usegmt=True))


def signed_at(exchange: Exchange) -> float:
    return datetime.strptime(exchange.headers["x-amz-date"], "%Y%m%dT%H%M%S%z").timestamp()


async def cut(exchange: Exchange) -> None:
    exchange.cut()


@contextlib.asynccontextmanager
async def dynamodb(*scripts: Script) -> AsyncIterator[Upstream]:
    async with upstream(*scripts) as server:
        with mock.patch.dict(os.environ, {"AWS_ENDPOINT_URL_DYNAMODB": server.url}):
            yield server


def get() -> Awaitable[dict[str, Any]]:
    return call("dynamodb", "GetItem", FIELDS, dict[str, Any])


class TestTheRequest:
    async def test_is_signed_json_with_the_name_of_its_operation(self) -> None:
        async with dynamodb(saying(b'{"Item":{}}')) as server:
            assert await get() == {"Item": {}}
        (exchange,) = server.requests
        assert exchange.head.startswith("POST / ")
        assert exchange.headers["content-type"] == "application/x-amz-json-1.0"
        assert exchange.headers["x-amz-target"] == "DynamoDB_20120810.GetItem"
        assert "/eu-west-1/dynamodb/aws4_request" in exchange.headers["authorization"]
        assert "x-amz-target" in exchange.headers["authorization"]
        assert json.loads(exchange.body) == {"TableName": TABLE, "Key": {"pk": {"S": "p"}, "body": {"B": "AP8="}}}

    async def test_is_the_one_that_boto3_sends(self) -> None:
        async with dynamodb(saying(b"{}"), saying(b"{}")) as server:
            await get()
            await asyncio.to_thread(self.send_with_boto3, server.url)
        ours, theirs = server.requests
        assert json.loads(ours.body) == json.loads(theirs.body)
        for name in ("content-type", "x-amz-target", "accept-encoding", "host"):
            assert ours.headers[name] == theirs.headers[name]
        signed = [
            each.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0] for each in (ours, theirs)
        ]
        assert signed == ["content-type;host;x-amz-date;x-amz-target"] * 2

    def send_with_boto3(self, url: str) -> None:
        client: Any = boto3.client("dynamodb", endpoint_url=url, region_name="eu-west-1")
        client.get_item(**FIELDS)
        client.close()

    async def test_goes_to_the_region_that_is_asked_for(self) -> None:
        async with dynamodb(saying(b"{}")) as server:
            await call("dynamodb", "GetItem", FIELDS, dict[str, Any], "sa-east-1")
        assert "/sa-east-1/dynamodb/aws4_request" in server.requests[0].headers["authorization"]

    async def test_without_a_region_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def nowhere() -> str:
            raise SettingsError("AWS_REGION")

        monkeypatch.setattr(aws_calls, "find_region", nowhere)
        with pytest.raises(SettingsError):
            await get()


class TestErrors:
    async def test_have_awss_code_and_its_words_for_the_log(self) -> None:
        async with dynamodb(refusing(400, "AccessDeniedException", "arn:aws:iam::1:user/me may not")):
            with pytest.raises(AwsCallFailed) as failure:
                await get()
        assert failure.value.reason == "AccessDeniedException"
        assert str(failure.value) == "AccessDeniedException: arn:aws:iam::1:user/me may not"
        assert "arn" not in failure.value.public_message

    @pytest.mark.parametrize(
        ("header", "body", "reason"),
        [
            ("ResourceNotFoundException:http://internal/", b"", "ResourceNotFoundException"),
            ("", b"<html>", "HTTP 403"),
            ("", b'{"__type":"ResourceNotFoundException","Message":null}', "ResourceNotFoundException"),
            ("", b'{"__type":7}', "HTTP 403"),
        ],
    )
    async def test_are_read_wherever_the_code_is(self, header: str, body: bytes, reason: str) -> None:
        async def answer(exchange: Exchange) -> None:
            await exchange.start(403, **({"x_amzn_errortype": header} if header else {}))
            await exchange.send(body or b"{}")
            await exchange.end()

        async with dynamodb(answer):
            with pytest.raises(AwsCallFailed) as failure:
                await get()
        assert failure.value.reason == reason

    async def test_long_words_are_cut(self) -> None:
        async with dynamodb(refusing(400, "ValidationException", "word " * 1000)):
            with pytest.raises(AwsCallFailed) as failure:
                await get()
        assert len(str(failure.value)) < 600

    async def test_words_that_quote_a_session_token_do_not_tell_its_beginning(self) -> None:
        token = "".join(f"IQoJb3JpZ2luX2VjE{number}" for number in range(50))
        redaction.register(token)
        async with dynamodb(refusing(400, "InvalidSignatureException", f"should have been 'POST {token}'")):
            with pytest.raises(AwsCallFailed) as failure:
                await get()
        assert "IQoJ" not in str(failure.value)

    @jumping
    async def test_it_finds_a_connection_where_answers_of_models_hold_all(self) -> None:
        async def answering(exchange: Exchange) -> None:
            await exchange.start()
            await exchange.gone()

        http = HttpSettings(http_pool_maxsize=1)
        with mock.patch.object(http_pool._Pool, "settings", http):
            async with upstream(answering) as model, dynamodb(saying(b"{}")):
                client = http_pool.client()
                answer = await client.send(client.build_request("POST", model.url), stream=True)
                assert await get() == {}
                await answer.aclose()

    async def test_a_response_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(aws_calls, "MAX_RESPONSE_BYTES", 100)
        async with dynamodb(saying(b" " * 101)):
            with pytest.raises(http_pool.BodyTooLarge):
                await get()


class TestRetries:
    @pytest.mark.parametrize(
        "failing",
        [
            refusing(400, "ProvisionedThroughputExceededException"),
            refusing(400, "ThrottlingException"),
            refusing(500, "InternalServerError"),
            refusing(503, "ServiceUnavailable"),
        ],
    )
    def test_what_is_throttled_or_broken_is_repeated(self, failing: Script) -> None:
        @jumping
        async def run() -> None:
            async with dynamodb(failing, failing, saying(b"{}")) as server:
                assert await get() == {}
            assert len(server.requests) == MAX_ATTEMPTS

        run()

    @jumping
    async def test_a_lost_connection_is_too(self) -> None:
        async with dynamodb(cut, cut, saying(b"{}")) as server:
            assert await get() == {}
        assert len(server.requests) == 3

    async def test_a_connection_that_has_died_costs_no_attempt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(aws_calls, "MAX_ATTEMPTS", 1)
        async with dynamodb(saying(b"{}"), cut, saying(b'{"Item":{}}')):
            await get()
            assert await get() == {"Item": {}}

    @jumping
    async def test_there_are_three_attempts(self) -> None:
        async with dynamodb(*[refusing(500, "InternalServerError")] * 9) as server:
            with pytest.raises(AwsCallFailed, match="InternalServerError"):
                await get()
        assert len(server.requests) == MAX_ATTEMPTS

    @pytest.mark.parametrize(
        "code", ["ConditionalCheckFailedException", "ValidationException", "AccessDeniedException"]
    )
    async def test_a_refusal_is_never_repeated(self, code: str) -> None:
        async with dynamodb(refusing(400, code), saying(b"{}")) as server:
            with pytest.raises(AwsCallFailed, match=code):
                await get()
        assert len(server.requests) == 1

    @jumping
    async def test_a_clock_that_is_off_is_corrected_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sigv4, "_CLOCK", sigv4._Clock())
        behind = skewed(-3600)
        async with dynamodb(behind, saying(b"{}"), saying(b"{}"), behind, behind) as server:
            assert await get() == {}
            assert await get() == {}
            with pytest.raises(AwsCallFailed, match="InvalidSignatureException"):  # it is not the clock, then
                await get()
        assert [round((signed_at(one) - time.time()) / 60) for one in server.requests] == [0, -60, -60, -60]

    @pytest.mark.parametrize("date", ["", "yesterday", formatdate(usegmt=True)], ids=["none", "no date", "now"])
    async def test_a_signature_that_is_wrong_otherwise_is_a_refusal(self, date: str) -> None:
        async with dynamodb(refusing(400, "InvalidSignatureException", date=date), saying(b"{}")) as server:
            with pytest.raises(AwsCallFailed, match="InvalidSignatureException"):
                await get()
        assert len(server.requests) == 1

    @jumping
    async def test_silence_takes_seconds_and_not_minutes(self) -> None:
        async def silent(exchange: Exchange) -> None:
            await exchange.gone()

        began = asyncio.get_running_loop().time()
        async with dynamodb(*[silent] * 9) as server:
            with pytest.raises(httpx.ReadTimeout):
                await get()
        assert len(server.requests) == MAX_ATTEMPTS
        most_s = (CONNECT_TIMEOUT_S + READ_TIMEOUT_S) * MAX_ATTEMPTS + 1
        assert asyncio.get_running_loop().time() - began <= most_s <= CALL_TIMEOUT_S

    @jumping
    async def test_so_does_a_response_that_trickles(self) -> None:
        async def trickling(exchange: Exchange) -> None:
            await exchange.start()
            with contextlib.suppress(ConnectionError):
                while True:
                    await exchange.send(b" ")
                    await asyncio.sleep(READ_TIMEOUT_S / 2)

        began = asyncio.get_running_loop().time()
        async with dynamodb(trickling):
            with pytest.raises(TimeoutError):
                await get()
        assert asyncio.get_running_loop().time() - began <= CALL_TIMEOUT_S + 1

    def test_the_codes_are_those_of_the_sdk(self) -> None:
        checkers: Any = ThrottledRetryableChecker, TransientRetryableChecker
        codes = {*checkers[0]._THROTTLED_ERROR_CODES, *checkers[1]._TRANSIENT_ERROR_CODES}
        assert codes == THROTTLED


@functools.cache
def sdk() -> tuple[Any, frozenset[str]]:
    """botocore's session, and the regions that it knows of all partitions."""
    session: Any = botocore.session.Session()
    partitions = session.get_available_partitions()
    regions = {region for name in partitions for region in session.get_available_regions("ec2", name)}
    return session, frozenset(regions | {"eusc-de-east-1", "eu-isoe-west-1", "us-isof-south-1"})


class TestEndpoints:
    @pytest.mark.parametrize("service", ["dynamodb", "secretsmanager", "ssm", "lambda", "bedrock-runtime"])
    def test_are_those_of_the_sdk_in_every_region(self, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
        session, regions = sdk()
        resolve = session.create_client(service, "eu-west-1")._ruleset_resolver._provider.resolve_endpoint
        assert {region.rsplit("-", 2)[0] for region in regions} >= DOMAINS.keys()
        for fips in ("", "true"):
            monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", fips)
            for region in regions:
                expected = resolve(Region=region, UseFIPS=bool(fips), UseDualStack=False).url
                assert public_endpoint(service, region) == expected

    def test_one_of_ones_own_is_named_for_all_services_or_for_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:5000/")
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:5001/base/")
        assert configured_endpoint("dynamodb", "eu-west-1") == "http://127.0.0.1:5000"
        assert configured_endpoint("secretsmanager", "eu-west-1") == "http://127.0.0.1:5001/base"


async def test_real_operations_are_understood() -> None:
    with aws() as client:
        client("ssm").put_parameter(Name="/chat/é", Value="sk-ü", Type="SecureString")
        fields = {"Name": "/chat/é", "WithDecryption": True}
        answer = await call("ssm", "GetParameter", fields, dict[str, Any])
        await http_pool.close()
    assert answer["Parameter"]["Value"] == "sk-ü"
