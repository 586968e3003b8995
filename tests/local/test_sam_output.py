"""Formatting the output of `sam local invoke` for `make invoke`: the response, or the reason why there is none."""

import io
import json
import sys

import pytest

from winterbourne.local import sam_output


class TestAResponse:
    def test_reads_as_curl_would_show_it(self) -> None:
        printed = json.dumps(
            {
                "statusCode": 200,
                "headers": {"content-type": "text/event-stream"},
                "cookies": ["a=1"],
                "body": "data: 1\n",
            }
        )
        assert (
            sam_output.format_response(printed)
            == "200 OK\ncontent-type: text/event-stream\nset-cookie: a=1\n\ndata: 1\n"
        )

    def test_has_its_base64_body_decoded(self) -> None:
        printed = json.dumps({"statusCode": 404, "body": "w7Y=", "isBase64Encoded": True})
        assert sam_output.format_response(printed) == "404 Not Found\n\nö"


class TestNoResponse:
    @pytest.mark.parametrize("printed", ["", "\n"])
    def test_nothing_printed_is_a_timeout_or_a_dead_sandbox(self, printed: str) -> None:
        with pytest.raises(ValueError, match="timed out"):
            sam_output.format_response(printed)

    @pytest.mark.parametrize("printed", ["oh no", "[]", '{"errorType": "Runtime.ExitError"}'])
    def test_something_else_is_shown_as_it_is(self, printed: str) -> None:
        with pytest.raises(ValueError, match="not a function URL response") as raised:
            sam_output.format_response(printed)
        assert printed in str(raised.value)


@pytest.mark.parametrize(("printed", "code"), [('{"statusCode": 204}', 0), ("", 1)])
def test_the_exit_code_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], printed: str, code: int
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(printed))
    assert sam_output.main() == code
    out, err = capsys.readouterr()
    assert bool(err) == (code == 1)
    assert out.startswith("204 No Content") == (code == 0)
