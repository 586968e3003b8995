"""Provider errors: mapping HTTP statuses and error bodies to our errors, without secrets."""

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.errors import (
    ModelBusy,
    ModelContentRefused,
    ModelDocumentRefused,
    ModelError,
    ModelImageRefused,
    ModelInputTooLong,
    ModelMisconfigured,
    ModelRefused,
)
from winterbourne.chat.providers.errors import (
    ErrorHints,
    error_for_non_stream_body,
    error_for_status,
    is_error,
    mid_stream_error,
)

HINTS = ErrorHints("OPENAI_API_KEY", "OPENAI_BASE_URL")

JSON = st.recursive(
    st.none() | st.integers() | st.text() | st.just("x" * 2000),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "code", "loc", "metadata", "raw"]), inner, max_size=3
        )
    ),
)


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
        ("body", "told"),
        [
            ({"detail": [{"type": "x", "loc": ["body", "seed"], "msg": "not allowed"}]}, "body.seed: not allowed"),
            ({"fault": {"faultstring": "unknown field", "detail": {"errorcode": "x"}}}, "unknown field"),
            ([{"error": {"code": 400, "message": "unknown field", "status": "INVALID_ARGUMENT"}}], "unknown field"),
            ({"object": "error", "message": {"detail": [{"loc": ["body"], "msg": "no"}]}}, "body: no"),
            (
                {"error": {"message": "Provider returned error", "metadata": {"raw": '{"detail":"too long"}'}}},
                "too long",
            ),
            ({"error": {"message": "flagged", "metadata": {"reasons": ["x"]}}}, "flagged"),
            ({"error": {"message": '{"error":{"message":"inner"}}'}}, "inner"),
            ({"errors": [{"message": "first"}, {"message": "second"}]}, "first"),
            ({"errors": [None, {}, "second"]}, "second"),
            ({"error": None, "message": "outer"}, "outer"),
            ({"error_code": 110, "error_msg": "expired"}, "expired"),
            ({"title": "Bad Request", "detail": "no such field"}, "no such field"),
        ],
    )
    @pytest.mark.parametrize("status", [400, 404, 422, 429, 503])
    def test_the_first_sentence_for_people_is_told(self, status: int, body: object, told: str) -> None:
        assert str(error_for_status(status, {}, json.dumps(body).encode(), HINTS)).endswith(f": {told}")

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            (b"upstream  request\ntimed out", ": upstream request timed out"),
            (b"<html><head><title>502 Bad\nGateway</title></head><body>nginx</body></html>", ": 502 Bad Gateway"),
            (b"<html><style>a{}</style><body><h1>No access</h1></body>", ": No access"),
            (b"", ""),
            (b"[1", ": [1"),
        ],
    )
    def test_of_a_body_that_is_not_json_the_text_or_the_title_is_told(self, body: bytes, told: str) -> None:
        assert str(error_for_status(400, {}, body, HINTS)).partition("request's options")[2] == told

    @given(JSON)
    def test_any_document_gives_an_error_of_bounded_length(self, value: object) -> None:
        body = json.dumps(value).encode()
        assert len(str(error_for_status(400, {}, body, HINTS))) < 600
        assert len(str(error_for_non_stream_body(body, HINTS))) < 600

    @pytest.mark.parametrize(
        "value",
        [
            {"error": None},
            {"error": ""},
            {"error": {"code": 0, "message": ""}},
            {"code": 0, "message": "Success"},
            {"code": 200, "msg": "ok"},
            {"base_resp": {"status_code": 0, "status_msg": "success"}},
            {"choices": [{}], "detail": "x", "message": "x"},
            {"usage": {"prompt_tokens": 1}, "message": "x"},
            {"message": {"role": "assistant", "content": "Hi"}},
            {},
            [],
            "error",
            None,
        ],
    )
    def test_what_is_no_error_is_none(self, value: object) -> None:
        assert not is_error(value)

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


def rejected(status: int, message: str, code: str = "") -> tuple[type[ModelError], str, int]:
    error = error_for_status(status, {}, orjson.dumps({"error": {"message": message, "code": code}}), HINTS)
    return type(error), error.code, error.status


class TestReasonOfTheCaller:
    @pytest.mark.parametrize(
        ("status", "message", "code"),
        [
            (400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded"),
            (400, "", "context_length_exceeded"),
            (400, "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens", ""),
            (400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096.", ""),
            (400, "prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error"),
            (400, "input length and `max_tokens` exceed context limit: 198000 + 8192 > 200000", ""),
            (413, "Request exceeds the maximum size", "request_too_large"),
            (400, "Input is too long for requested model.", "ValidationException"),
            (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", "400"),
            (400, "the request exceeds the available context size, try increasing it", "exceed_context_size_error"),
            (500, "the input length exceeds the context length", ""),
            (400, "Trying to keep the first 5000 tokens when context the overflows.", ""),
            (400, "Prompt contains 40000 tokens, too large for model with 32768 maximum context length", "3051"),
            (400, "Please reduce the length of the messages or completion.", ""),
            (400, "Your request exceeded model token limit: 8192", "invalid_request_error"),
            (400, "Range of input length should be [1, 30720]", "InvalidParameter"),
            (400, "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000", ""),
            (429, "Request too large for gpt-5. The input or output tokens must be reduced.", "rate_limit_exceeded"),
            (400, "too many tokens: size limit exceeded by 11326 tokens", ""),
            (400, "prompt token count of 70000 exceeds the limit of 64000", "model_max_prompt_tokens_exceeded"),
        ],
    )
    def test_too_long_a_conversation(self, status: int, message: str, code: str) -> None:
        assert rejected(status, message, code) == (ModelInputTooLong, "context_length_exceeded", 400)

    @pytest.mark.parametrize(
        ("status", "message", "code"),
        [
            (400, "Your request was rejected by our safety system.", "content_policy_violation"),
            (400, "The response was filtered due to Azure OpenAI's content management policy.", "content_filter"),
            (400, "Input data may contain inappropriate content.", "data_inspection_failed"),
            (400, "Content Exists Risk", "invalid_request_error"),
            (403, "Your chosen model requires moderation and your input was flagged for violence.", "403"),
        ],
    )
    def test_content_that_a_policy_forbids(self, status: int, message: str, code: str) -> None:
        assert rejected(status, message, code) == (ModelContentRefused, "content_policy_violation", 400)

    @pytest.mark.parametrize(
        ("message", "code"),
        [
            ("You uploaded an unsupported image.", "invalid_image_format"),
            ("Could not process image", "invalid_request_error"),
            ("messages.0.content.1.image.source.base64: image exceeds 5 MB maximum", ""),
            ("At most 1 image(s) may be provided in one prompt.", "BadRequestError"),
            ("This model does not support image input", ""),
            ("cannot identify image file", ""),
        ],
    )
    def test_an_image_that_the_model_cannot_use(self, message: str, code: str) -> None:
        assert rejected(400, message, code) == (ModelImageRefused, "invalid_image", 400)

    @pytest.mark.parametrize(
        "message",
        [
            "messages.0.content.0.pdf.source.base64.data: The PDF specified was not valid.",
            "messages.0.content.0.pdf.source.base64.data: The PDF specified is password protected.",
            "A maximum of 100 PDF pages may be provided.",
            "Could not process PDF",
            "The model returned the following errors: Invalid document",
            "The document file is encrypted",
            "Invalid file data: 'file_data'. Expected a base64-encoded data URL",
        ],
    )
    def test_a_document_that_the_model_cannot_use(self, message: str) -> None:
        assert rejected(400, message, "invalid_request_error") == (ModelDocumentRefused, "invalid_document", 400)

    def test_is_found_in_a_stream_too(self) -> None:
        error = mid_stream_error({"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8"})
        assert isinstance(error, ModelInputTooLong)

    @pytest.mark.parametrize("message", ["Too many tokens, please wait before trying again.", "Too many requests", "x"])
    @pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
    def test_is_none_where_waiting_helps(self, status: int, message: str) -> None:
        assert rejected(status, message, "rate_limit_exceeded")[0] is ModelBusy

    @pytest.mark.parametrize("status", [400, 413, 422])
    def test_is_told_as_a_rejected_request_if_it_is_not_known(self, status: int) -> None:
        assert rejected(status, "temperature: no", "invalid_value") == (ModelRefused, "model_refused", 400)

    @pytest.mark.parametrize(
        ("status", "message"),
        [
            (301, ""),
            (401, "the prompt is too long"),
            (402, "pay"),
            (403, "no"),
            (404, "no"),
            (405, "no"),
            (400, "API key not valid. Please pass a valid API key."),
            (400, "The provided model identifier is invalid."),
            (400, "model gpt-9 not found"),
        ],
    )
    def test_is_not_the_callers_if_the_deployment_is_wrong(self, status: int, message: str) -> None:
        assert rejected(status, message) == (ModelMisconfigured, "model_refused", 502)

    def test_is_searched_for_in_bounded_time(self) -> None:
        began = time.process_time()
        rejected(400, "support" * 9000)
        assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("message", "window"),
    [
        ("prompt is too long: 205321 tokens > 200000 maximum", 200_000),
        ("This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8000 in the", 8192),
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", 1_048_576),
        ("the request exceeds the available context size (4,096 tokens), try increasing it", 4096),
        ("input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease", 200_000),
        (
            "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            32_768,
        ),
        ("'max_tokens' is too large: 8192. This model's maximum context length is 4096 tokens", 4096),
        ("Input is too long for requested model.", 0),
        ("Your input exceeds the context window of this model. Please adjust your input and try again.", 0),
    ],
)
def test_a_refusal_of_a_long_conversation_knows_the_window_that_it_names(message: str, window: int) -> None:
    body = orjson.dumps({"error": {"message": message}})
    for error in (error_for_status(400, {}, body, HINTS), mid_stream_error({"error": {"message": message}})):
        assert isinstance(error, ModelInputTooLong)
        assert error.window == window
