"""Provider errors: mapping HTTP statuses and error bodies to our errors, without secrets."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from winterbourne.chat.errors import ModelBusy, ModelError, ModelRefused
from winterbourne.chat.providers.errors import ErrorHints, error_for_non_stream_body, error_for_status, mid_stream_error

HINTS = ErrorHints("OPENAI_API_KEY", "OPENAI_BASE_URL")


def busy(status: int = 429, **headers: str) -> ModelBusy:
    error = error_for_status(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"", HINTS)
    assert isinstance(error, ModelBusy)
    return error


class TestRetryAfter:
    def test_seconds(self) -> None:
        assert busy(retry_after="1.5").retry_after_s == 1.5

    def test_milliseconds_override_seconds(self) -> None:
        assert busy(retry_after="2", retry_after_ms="1250").retry_after_s == 1.25

    def test_invalid_milliseconds_are_ignored(self) -> None:
        assert busy(retry_after="2", retry_after_ms="soon").retry_after_s == 2
        assert busy(retry_after_ms="soon").retry_after_s is None

    def test_a_date(self) -> None:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
        assert busy(503, retry_after=date).retry_after_s == pytest.approx(89.5, abs=1)

    @pytest.mark.parametrize("value", ["-5", "Wed, 21 Oct 2015 07:28:00 GMT"])
    def test_a_time_in_the_past_is_zero(self, value: str) -> None:
        assert busy(retry_after=value).retry_after_s == 0

    @pytest.mark.parametrize("value", ["soon", "", "Wed, 99 Oct"])
    def test_an_invalid_value_is_ignored(self, value: str) -> None:
        assert busy(retry_after=value).retry_after_s is None


class TestErrorBody:
    @pytest.mark.parametrize(
        "body",
        [
            b'{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}',
            b'{"type":"error","error":{"type":"context_length_exceeded","message":"too long"}}',
            b'{"object":"error","message":"too long","type":"context_length_exceeded","code":null}',
            b'{"error":{"status":"context_length_exceeded","message":"too long"}}',
        ],
    )
    def test_code_and_message_are_found(self, body: bytes) -> None:
        error = error_for_status(400, {}, body, HINTS)
        assert "context_length_exceeded" in str(error)
        assert str(error).endswith(": too long")

    def test_the_code_of_amazon_is_read_from_its_header(self) -> None:
        headers = {"x-amzn-errortype": "ValidationException:http://internal.amazon.com/coral/"}
        error = error_for_status(400, headers, b'{"message":"The provided model identifier is invalid."}', HINTS)
        assert "(400 ValidationException)" in str(error)

    @pytest.mark.parametrize(
        "body", [b"", b"<html>", b"[]", b'"oops"', b'{"error":null}', b'{"error":[1]}', b'{"code":[1],"type":{}}']
    )
    def test_a_body_without_an_error_still_gives_one(self, body: bytes) -> None:
        assert isinstance(error_for_status(400, {}, body, HINTS), ModelRefused)
        assert isinstance(error_for_non_stream_body(body, HINTS), ModelError)


class TestSecrets:
    @pytest.mark.parametrize("status", [401, 403])
    def test_our_identity_is_not_shown(self, status: int) -> None:
        body = b'{"message":"User: arn:aws:sts::123456789012:assumed-role/x is not authorized, key abc"}'
        assert "User" not in str(error_for_status(status, {}, body, HINTS))

    @pytest.mark.parametrize(
        "secret", ["sk-proj-abcdefgh1234", "arn:aws:bedrock:us-east-1:1:model/x", "https://10.0.0.1/v1"]
    )
    def test_what_looks_secret_is_left_out(self, secret: str) -> None:
        message = str(mid_stream_error({"message": f"cannot use {secret} here"}))
        assert secret not in message
        assert "[...]" in message

    def test_a_long_message_is_truncated(self) -> None:
        assert len(str(mid_stream_error({"message": "x " * 5000}))) < 400


class TestMidStreamError:
    @pytest.mark.parametrize(
        "code",
        [
            "overloaded_error",
            "throttlingException",
            "rate_limit_exceeded",
            "serviceUnavailableException",
            "529",
            "internalServerException",
            "timeout_error",
            "server_error",
        ],
    )
    def test_a_transient_code_means_busy(self, code: str) -> None:
        assert isinstance(mid_stream_error({"type": code, "message": "x"}), ModelBusy)

    @pytest.mark.parametrize("error", [{"type": "invalid_request_error"}, "no", 7, None, [], {"code": 400}])
    def test_anything_else_is_a_model_error(self, error: object) -> None:
        assert type(mid_stream_error(error)) is ModelError
