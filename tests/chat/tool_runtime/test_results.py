"""Tool results: JSON within a size limit; errors as one sentence; secrets are redacted."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.log_lines import log_lines
from winterbourne.chat.errors import SettingsError, ToolError, ToolUnavailable
from winterbourne.chat.infra import redaction
from winterbourne.chat.tool_runtime import results
from winterbourne.chat.tool_runtime.results import (
    counts_as_failure,
    encode,
    failed,
    handle_exception,
    outcome_for_exception,
    timed_out,
    truncate,
)
from winterbourne.override import override


class Point(msgspec.Struct):
    x: int
    label: str


class Hostile(Exception):
    @override
    def __str__(self) -> str:
        raise RuntimeError("no words")


class HostileToolError(ToolError):
    @override
    def __str__(self) -> str:
        raise RuntimeError("no words")


class TestEncode:
    @pytest.mark.parametrize(
        ("value", "written"),
        [
            ({"a": [1, 2.5, None, True]}, b'{"a":[1,2.5,null,true]}'),
            ("text", b'"text"'),
            (None, b"null"),
            (Point(1, "p"), b'{"x":1,"label":"p"}'),
            ([Point(1, "p")], b'[{"x":1,"label":"p"}]'),
            ({1: "int keys"}, b'{"1":"int keys"}'),
        ],
    )
    def test_returns_what_orjson_can_serialize(self, value: Any, written: bytes) -> None:
        assert encode(value, 1000) == written

    def test_raises_a_tool_error_for_anything_else_and_logs_the_reason(self, caplog: pytest.LogCaptureFixture) -> None:
        endless: list[Any] = []
        endless.append(endless)
        for value in (object(), {"a": {1, 2}}, b"bytes", "\ud800", 2**70, endless, Point(2**70, "")):
            with pytest.raises(ToolError, match=r"^The tool's result cannot be written as JSON\.$"):
                encode(value, 1000)
            assert caplog.records[-1].exc_info


class Row(msgspec.Struct):
    text: str


@dataclass
class Record:
    text: str


class TestTruncation:
    def test_ends_a_text_that_is_too_long_with_a_note(self) -> None:
        written = orjson.loads(encode("x" * 5000, 300))
        assert written.startswith("xxxx")
        assert written.endswith(" … [cut: the result has 5002 bytes of JSON, the limit is 300]")

    def test_cuts_a_structure_as_its_json_text(self) -> None:
        written = orjson.loads(encode({"rows": ["é" * 10] * 500}, 300))
        assert written.startswith('{"rows":["éééééééééé","')
        assert "[cut: " in written

    @pytest.mark.parametrize(
        "make",
        [
            lambda: "x" * 30_000_000,
            lambda: ["x" * 100] * 300_000,
            lambda: {"rows": [{"id": number} for number in range(300_000)]},
            lambda: {str(number): number for number in range(600_000)},
            lambda: ("x" * 30_000_000,),
            lambda: Row("x" * 30_000_000),
            lambda: Record("x" * 30_000_000),
            lambda: [Record("x" * 30_000_000)] * 3,
        ],
        ids=["text", "list", "rows", "dict", "tuple", "struct", "dataclass", "dataclasses"],
    )
    def test_of_a_very_large_value_only_the_beginning_is_encoded(
        self, make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[int] = []

        def dumps(value: Any, *arguments: Any, **options: Any) -> bytes:
            encoded = orjson.dumps(value, *arguments, **options)
            sizes.append(len(encoded))
            return encoded

        monkeypatch.setattr(results, "orjson", SimpleNamespace(**vars(orjson) | {"dumps": dumps}))
        written = orjson.loads(encode(make(), 1000))
        assert written.endswith(" … [cut: the result has more than 1048576 bytes of JSON, the limit is 1000]")
        assert max(sizes) < 10_000

    def test_the_beginning_of_a_very_large_value_is_shown_as_it_is(self) -> None:
        written = orjson.loads(encode({"a": [1, None, True], "b": Record("x" * 2_000_000)}, 1000))
        assert written.startswith('{"a":[1,null,true],"b":{"text":"xxxx')

    @given(
        st.recursive(
            st.text(max_size=8).map(lambda text: text * 60),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
            max_leaves=6,
        ),
        st.integers(256, 600),
    )
    def test_stays_within_the_limit_and_is_always_json(self, value: Any, limit: int) -> None:
        with contextlib.suppress(ToolError):
            written = encode(value, limit)
            assert len(written) <= limit
            orjson.loads(written)

    @given(st.text(min_size=1, max_size=8).map(lambda text: text * 300), st.integers(256, 299))
    def test_keeps_as_much_as_fits(self, text: str, limit: int) -> None:
        written = truncate(orjson.dumps(text), limit)
        assert limit - 8 < len(written) <= limit, "one more character would be too much"


class TestErrors:
    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError(),
            KeyError("x"),
            OSError("login failed for mysql://harbour:s3cr3t-pw@10.9.8.7/berths"),
            SettingsError("X_SECRET_ARN: the secret cannot be read"),
            ExceptionGroup("several", [ToolError("of one task"), ValueError("of another")]),
            Hostile(),
            SystemExit(3),
            ToolError(),
            HostileToolError(),
        ],
    )
    def test_of_any_type_are_reported_in_one_sentence(self, error: BaseException) -> None:
        assert outcome_for_exception("find", error).error == "find failed because of an internal error."

    def test_a_tool_error_is_shown_as_written(self) -> None:
        assert outcome_for_exception("find", ToolError("Ask again tomorrow.")).error == "Ask again tomorrow."

    def test_a_long_message_is_truncated(self) -> None:
        assert len(outcome_for_exception("find", ToolError("x" * 100_000)).error) < 2100
        assert len(failed("x" * 100_000).error) < 2100
        assert len(timed_out("x" * 100_000).error) < 2100

    def test_tool_errors_do_not_count_as_failures(self) -> None:
        errors = (RuntimeError(), ToolUnavailable("away"), ToolError("no such city"))
        assert [counts_as_failure(error) for error in errors] == [True, True, False]


class TestSecrets:
    @pytest.fixture(autouse=True)
    def secret(self) -> None:
        redaction.register("sk-harbour")

    def test_are_redacted_in_errors(self) -> None:
        message = "not with sk-harbour"
        outcomes = (failed(message), timed_out(message), outcome_for_exception("find", ToolError(message)))
        assert {outcome.error for outcome in outcomes} == {"not with [redacted]"}

    def test_are_redacted_in_results(self) -> None:
        assert encode({"sk-harbour": ["a sk-harbour b"]}, 1000) == b'{"[redacted]":["a [redacted] b"]}'

    def test_their_replacements_do_not_make_a_result_too_long(self) -> None:
        redaction.register("key-abc")
        assert len(encode(["key-abc"] * 25, 256)) <= 256

    def test_a_lone_surrogate_in_an_error_is_replaced(self) -> None:
        assert failed("half \ud800").error == "half ?"

    @pytest.mark.parametrize("before", range(1990, 2010))
    def test_are_not_split_by_the_truncation_of_an_error(self, before: int) -> None:
        assert "sk-h" not in failed("x" * before + "sk-harbour" + "y" * 100).error

    @pytest.mark.parametrize("before", range(180, 260))
    def test_are_not_split_by_the_truncation_of_a_result(self, before: int) -> None:
        assert b"sk-h" not in encode("x" * before + "sk-harbour" + "y" * 100, 256)


def test_the_cause_of_an_unavailable_dependency_is_in_the_log() -> None:
    error = ToolUnavailable("The harbour office cannot be reached.")
    error.__cause__ = ConnectionError("no route to the quay")
    with log_lines() as lines:
        assert handle_exception("moor", error).error == "The harbour office cannot be reached."
    assert any("no route to the quay" in line for line in lines)


def test_an_intended_tool_error_is_not_logged() -> None:
    with log_lines() as lines:
        handle_exception("moor", ToolError("There is no such port."))
    assert lines == []
