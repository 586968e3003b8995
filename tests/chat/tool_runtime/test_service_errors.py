"""Errors of services: what HTTP and decoding raise becomes one sentence for the model, and nothing else does."""

import httpx
import pytest

from winterbourne.chat.errors import ToolError, ToolUnavailable
from winterbourne.chat.tool_runtime.service_errors import error_for_status, translate_errors


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (httpx.ReadTimeout("slow"), "The tide service did not answer in time."),
        (httpx.ConnectError("down"), "The tide service cannot be reached."),
        (httpx.DecodingError("gzip"), "The tide service sent an answer that cannot be read."),
        (ValueError("not JSON"), "The tide service sent an answer that cannot be read."),
    ],
)
def test_what_http_and_decoding_raise_is_one_sentence(error: Exception, message: str) -> None:
    with pytest.raises(ToolUnavailable) as raised, translate_errors("tide service"):
        raise error
    assert str(raised.value) == message


def test_an_answer_of_a_wrong_shape_is_translated_only_if_the_block_says_so() -> None:
    with pytest.raises(KeyError), translate_errors("tide service"):
        raise KeyError("tides")
    with pytest.raises(ToolUnavailable, match="cannot be read"), translate_errors("tide service", KeyError):
        raise KeyError("tides")


def test_a_tools_own_error_passes_through() -> None:
    with pytest.raises(ToolError, match="no such harbour"), translate_errors("tide service"):
        raise ToolError("There is no such harbour.")


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (401, ToolError, "The tide service does not accept our key; the operator must look at it."),
        (429, ToolUnavailable, "The tide service is busy or broken (HTTP 429)."),
        (503, ToolUnavailable, "The tide service is busy or broken (HTTP 503)."),
        (302, ToolError, "The tide service refused the request (HTTP 302)."),
    ],
)
def test_only_a_status_that_may_pass_is_worth_a_retry(status: int, kind: type[ToolError], message: str) -> None:
    error = error_for_status("tide service", status, "key")
    assert (type(error), str(error)) == (kind, message)
