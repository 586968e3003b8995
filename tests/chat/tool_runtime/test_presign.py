"""Presigned URLs of S3: for any bucket and key those that boto3 makes."""

import sys
from collections.abc import Mapping
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.stores import TEST_ACCOUNT
from winterbourne.chat import presign

CONFIG: Any = Config(
    signature_version="s3v4",
    s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
VARIABLES = {**TEST_ACCOUNT, "AWS_SESSION_TOKEN": "a/session+token="}


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)


def boto3_url(region: str, operation: str, expires_s: int, **parameters: str) -> str:
    url: str = CLIENTS[region].generate_presigned_url(operation, Params=parameters, ExpiresIn=expires_s)
    return url


def make_client(region: str) -> Any:
    make: Any = boto3.client
    account = {name.lower(): VARIABLES[name] for name in SIGNING}
    return make("s3", region_name=region, config=CONFIG, **account)


SIGNING = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
CLIENTS = {region: make_client(region) for region in ("us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1")}


def parts(url: str) -> tuple[str, str, str, Mapping[str, list[str]]]:
    found = urlsplit(url)
    return found.scheme, found.netloc, found.path, parse_qs(found.query, strict_parsing=True)


async def assert_same(theirs: str, *arguments: str, **options: Any) -> None:
    """Ours, at the time of theirs."""
    time = parts(theirs)[3]["X-Amz-Date"][0]
    with mock.patch.object(sys.modules[presign.__module__], "timestamp", return_value=time):
        assert parts(await presign(*arguments, **options)) == parts(theirs)


class TestAsBoto3:
    @pytest.mark.parametrize("region", CLIENTS)
    @pytest.mark.parametrize("bucket", ["my-bucket", "my.bucket.example", "abc"])
    async def test_any_bucket_has_the_same_address(self, region: str, bucket: str) -> None:
        theirs = boto3_url(region, "get_object", 60, Bucket=bucket, Key="a b.pdf")
        await assert_same(theirs, bucket, "a b.pdf", expires_s=60, region=region)

    async def test_an_upload_says_what_it_must_be(self) -> None:
        theirs = boto3_url("eu-west-1", "put_object", 9, Bucket="b-1", Key="k", ContentType="image/png")
        await assert_same(theirs, "b-1", "k", method="PUT", expires_s=9, headers={"Content-Type": "image/png"})

    async def test_a_download_can_be_given_a_name(self) -> None:
        name = 'attachment; filename="ü.pdf"'
        theirs = boto3_url("eu-west-1", "get_object", 9, Bucket="b-1", Key="k", ResponseContentDisposition=name)
        await assert_same(theirs, "b-1", "k", expires_s=9, query={"response-content-disposition": name})


@given(key=KEYS, expires_s=st.integers(1, 604800))
async def test_any_key_has_the_same_signature(key: str, expires_s: int) -> None:
    theirs = boto3_url("eu-west-1", "get_object", expires_s, Bucket="my-bucket", Key=key)
    await assert_same(theirs, "my-bucket", key, expires_s=expires_s)


async def test_an_address_of_ones_own_has_the_bucket_in_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000/base")
    assert (await presign("my-bucket", "k")).startswith("http://127.0.0.1:9000/base/my-bucket/k?")


@pytest.mark.parametrize("expires_s", [0, -1, 604801])
async def test_a_validity_that_s3_refuses_is_an_error(expires_s: int) -> None:
    with pytest.raises(ValueError, match="expires_s"):
        await presign("my-bucket", "k", expires_s=expires_s)
