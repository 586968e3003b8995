"""Calls AWS services that speak JSON (DynamoDB, Secrets Manager, SSM) over the shared HTTP pool, and knows endpoints.

Instead of an SDK: importing boto3 and making its clients takes as long as the rest of a cold start, and its calls block
a thread each. https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from winterbourne.chat.errors import AwsCallFailed
from winterbourne.chat.http_library import httpx
from winterbourne.chat.infra import http_pool, http_retry
from winterbourne.chat.infra.aws_credentials import find_region
from winterbourne.chat.infra.backoff import backoff_s
from winterbourne.chat.infra.redaction import redact_prefix
from winterbourne.chat.infra.sigv4 import correct_clock, sign

__all__ = ["call", "configured_endpoint", "public_endpoint"]

T = TypeVar("T")

PROTOCOLS: Final = {
    "dynamodb": ("DynamoDB_20120810", "1.0"),
    "secretsmanager": ("secretsmanager", "1.1"),
    "ssm": ("AmazonSSM", "1.1"),
}
"""By service: the prefix of its operations, and the version of the JSON protocol."""

DOMAINS: Final = {
    "cn": "amazonaws.com.cn",
    "eusc-de": "amazonaws.eu",
    "us-iso": "c2s.ic.gov",
    "us-isob": "sc2s.sgov.gov",
    "eu-isoe": "cloud.adc-e.uk",
    "us-isof": "csp.hci.ic.gov",
}
"""The domains of the partitions, by how their regions begin; all others have `amazonaws.com`."""

# One call takes seconds, not minutes.
CONNECT_TIMEOUT_S: Final = 1.0
READ_TIMEOUT_S: Final = 2.0
MAX_ATTEMPTS: Final = 3
CALL_TIMEOUT_S: Final = 20.0
"""For all attempts together."""

MAX_RESPONSE_BYTES: Final = 16 * 2**20
"""A page of DynamoDB has 1 MB before it is JSON."""

MAX_ERROR_CHARS: Final = 500
"""How many characters of an error are kept, for the log."""

THROTTLED: Final = frozenset({
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "RequestThrottled"),
    *("TooManyRequestsException", "ProvisionedThroughputExceededException", "TransactionInProgressException"),
    *("RequestLimitExceeded", "BandwidthLimitExceeded", "LimitExceededException", "SlowDown"),
    *("PriorRequestNotComplete", "EC2ThrottledException", "RequestTimeout", "RequestTimeoutException"),
})  # fmt: skip
"""The codes of errors after which a call is repeated, as in the AWS SDKs; it is after every 5xx too."""

SKEWED: Final = frozenset({
    *("AuthFailure", "InvalidSignatureException", "SignatureDoesNotMatch"),
    *("RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"),
})  # fmt: skip
"""The codes that a wrong clock may be behind, as in the AWS SDK for JavaScript. https://github.com/smithy-lang/smithy-typescript"""

_TIMEOUT: Final = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
_RESERVED: Final = 16
"""Connections beyond the pool's limit: who holds all of them, models that answer, still has to be saved."""

_EXTENSIONS: Final = {**http_retry.NO_RETRIES, "repeatable": True, "reserved": _RESERVED}


class _Error(msgspec.Struct):
    type: str = msgspec.field(default="", name="__type")
    message: Any = ""


async def call(service: str, operation: str, fields: Mapping[str, Any], answer: type[T], region: str = "") -> T:
    """Call an operation. What may have been lost, throttled or broken (5xx) is repeated with backoff, as by the SDKs.

    So is what was signed by a clock that is off; from then on signatures have the service's time.

    Args:
        service: A key of PROTOCOLS.
        operation: As in the API reference, such as `GetItem`.
        fields: The request; bytes become base64.
        answer: The type of the response, which is decoded from JSON.
        region: Empty for the function's own.

    Raises:
        AwsCallFailed: The service refused it.
        CredentialsMissing, SettingsError: Credentials or region are missing.
        httpx.TransportError, TimeoutError: It cannot be reached, or does not answer.

    Cancellation:
        Ends the request; whether it takes effect is unknown.
    """
    content, attempt = msgspec.json.encode(fields), 0
    async with asyncio.timeout(CALL_TIMEOUT_S):
        region = region or await find_region()
        while True:
            attempt += 1
            try:
                body = await _attempt(service, operation, content, region)
            except (httpx.TransportError, AwsCallFailed) as error:
                if attempt == MAX_ATTEMPTS or (isinstance(error, AwsCallFailed) and not error.is_repeatable):
                    raise
            else:
                return msgspec.json.decode(body, type=answer)
            await asyncio.sleep(backoff_s(attempt))


def configured_endpoint(service: str, region: str) -> str:
    """The base URL of a service: that of AWS_ENDPOINT_URL_<SERVICE> or AWS_ENDPOINT_URL, else the public one."""
    name = {"secretsmanager": "SECRETS_MANAGER"}.get(service, service.upper())
    own = os.environ.get(f"AWS_ENDPOINT_URL_{name}") or os.environ.get("AWS_ENDPOINT_URL")
    return own.rstrip("/") if own else public_endpoint(service, region)


def public_endpoint(service: str, region: str) -> str:
    """The base URL of a service in its partition; its FIPS endpoint if AWS_USE_FIPS_ENDPOINT is true.

    https://docs.aws.amazon.com/general/latest/gr/rande.html
    """
    domain = DOMAINS.get(region.rsplit("-", 2)[0], "amazonaws.com")
    is_plain = service in {"dynamodb", "ssm"} and region.startswith("us-gov-")  # all of them are FIPS endpoints there
    fips = "-fips" if os.environ.get("AWS_USE_FIPS_ENDPOINT", "").lower() == "true" and not is_plain else ""
    return f"https://{service}{fips}.{region}.{domain}"


async def _attempt(service: str, operation: str, content: bytes, region: str) -> bytes:
    prefix, version = PROTOCOLS[service]
    headers = {
        "content-type": f"application/x-amz-json-{version}",
        "x-amz-target": f"{prefix}.{operation}",
        "accept-encoding": "identity",
    }
    client, url = http_pool.client(), configured_endpoint(service, region)
    request = client.build_request(
        "POST", f"{url}/", content=content, headers=headers, timeout=_TIMEOUT, extensions=_EXTENSIONS
    )
    await sign(request, service, region)
    response = await client.send(request, stream=True)
    body = await http_pool.read_body(response, MAX_RESPONSE_BYTES)
    if response.status_code != 200:
        raise _error(response, body)
    return body


def _error(response: httpx.Response, body: bytes) -> AwsCallFailed:
    try:
        error = msgspec.json.decode(body, type=_Error)
    except ValueError:
        error = _Error()
    named = response.headers.get("x-amzn-errortype") or error.type or f"HTTP {response.status_code}"
    code = named.rpartition("#")[2].partition(":")[0]
    return AwsCallFailed(
        code[:MAX_ERROR_CHARS],
        redact_prefix(str(error.message), MAX_ERROR_CHARS),  # it may quote what was signed, a session token with it
        is_repeatable=response.status_code >= 500
        or code in THROTTLED
        or (code in SKEWED and correct_clock(response.headers.get("date", ""))),
    )
