"""Error reports: the document, error type, stack trace and X-Ray cause that Lambda expects."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.harness import serving
from winterbourne import errors
from winterbourne.errors import ErrorReport, RuntimeFault, StreamLost, WinterbourneError
from winterbourne.override import override


async def fails_on_the_loop(event: Any, context: Any) -> None:
    raise ValueError("on the loop")


def fails_in_a_thread(event: Any, context: Any) -> None:
    raise ValueError("in a thread")


def raised() -> ErrorReport:
    try:
        dict[str, str]()["missing"]
    except KeyError as error:
        return ErrorReport(error, "r-1")
    raise AssertionError


def test_the_document_has_the_keys_of_the_stock_client() -> None:
    document = raised().document
    assert list(document) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert (document["errorMessage"], document["errorType"], document["requestId"]) == ("'missing'", "KeyError", "r-1")
    assert document["stackTrace"][-1].startswith(f'  File "{__file__}", line ')


def test_the_type_for_lambda_is_the_exceptions_name_in_its_namespace() -> None:
    assert raised().error_type == "Function.KeyError"


def test_a_runtime_fault_has_lambdas_own_type_and_no_stack_frames() -> None:
    report = ErrorReport(RuntimeFault("Runtime.HandlerNotFound", "Handler 'x' missing", ["line"]))
    assert report.error_type == report.document["errorType"] == "Runtime.HandlerNotFound"
    assert report.document["stackTrace"] == ["line"]


@pytest.mark.parametrize("handler", [fails_on_the_loop, fails_in_a_thread])
async def test_the_stack_trace_begins_in_the_handler_not_in_the_runtime_that_called_it(handler: Any) -> None:
    async with serving(handler) as api:
        outcome = await api.invoke()
    assert f'File "{__file__}"' in outcome.json["stackTrace"][0]
    assert handler.__name__ in outcome.json["stackTrace"][0]


def test_the_stack_trace_begins_in_the_engine_where_the_runtime_calls_it() -> None:
    runtime = Path(errors.__file__).parent
    assert errors._is_internal(str(runtime / "loop.py"))
    assert not errors._is_internal(str(runtime / "chat" / "process_setup.py"))


def test_an_error_whose_str_raises_is_still_reported() -> None:
    class Awkward(Exception):
        @override
        def __str__(self) -> str:
            raise KeyError

    assert ErrorReport(Awkward()).message == "<Awkward whose text raises KeyError>"


def test_a_type_name_that_is_not_a_valid_header_value_is_unknown() -> None:
    report = ErrorReport(type("Überfehler", (Exception,), {})("oh"))
    assert report.error_type == "Function.Unknown"
    assert report.document["errorType"] == "Überfehler"


class TestXrayCause:
    def test_names_the_file_and_the_function(self) -> None:
        cause = json.loads(raised().xray_cause)
        assert cause["working_directory"] == str(Path.cwd())
        assert cause["paths"] == [__file__]
        (exception,) = cause["exceptions"]
        assert exception["stack"][0]["label"] == "raised"

    def test_is_reported_even_if_the_working_directory_is_gone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        tmp_path.rmdir()
        assert json.loads(raised().xray_cause)["working_directory"] == ""

    @pytest.mark.parametrize("message", ["x" * 2_000_000, "ü" * 40_000, "\ud800" * 6000])
    def test_is_shortened_to_what_every_reader_takes(self, message: str) -> None:
        cause = ErrorReport(ValueError(message)).xray_cause
        assert 30_000 < len(cause) < 32 * 1024
        assert message.startswith(json.loads(cause)["exceptions"][0]["message"])

    def test_has_the_innermost_frames(self) -> None:
        def fail(more: int) -> None:
            if more:
                fail(more - 1)
            raise ValueError

        with pytest.raises(ValueError) as raised:  # noqa: PT011 - its own
            fail(300)
        (exception,) = json.loads(ErrorReport(raised.value).xray_cause)["exceptions"]
        assert len(exception["stack"]) == 50
        assert exception["stack"][-1]["label"] == "fail"

    def test_is_omitted_when_not_even_the_frames_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(errors, "MAX_XRAY_CAUSE_BYTES", 10)
        assert raised().xray_cause == ""


@given(st.text(st.characters()))
def test_any_message_is_ascii_json(message: str) -> None:
    report = ErrorReport(ValueError(message))
    assert json.loads(report.body())["errorMessage"] == message
    assert report.body().isascii()
    assert report.xray_cause.isascii()
    assert "\n" not in report.xray_cause


def test_stream_lost_is_a_connection_error() -> None:
    assert issubclass(StreamLost, ConnectionError)


@pytest.mark.parametrize("name", errors.__all__)
def test_every_public_error_has_one_base_class(name: str) -> None:
    kind = getattr(errors, name)
    assert kind is ErrorReport or issubclass(kind, WinterbourneError)


class TestABodyWithALimit:
    @given(
        st.text(st.characters(), max_size=2000),
        st.integers(0, 60),
        st.sampled_from([400, 1000, 2800, 100_000]),
    )
    def test_any_error_fits_and_keeps_the_innermost_frames(self, message: str, depth: int, limit: int) -> None:
        def fail(more: int) -> None:
            if more:
                fail(more - 1)
            raise ValueError(message)

        with pytest.raises(ValueError) as raised:  # noqa: PT011 - its own
            fail(depth)
        report = ErrorReport(raised.value, "r-1")
        body = report.body(limit)
        shortened, whole = json.loads(body), report.document
        stack = shortened["stackTrace"]
        assert len(body) <= limit
        assert (shortened["errorType"], shortened["requestId"]) == ("ValueError", "r-1")
        assert stack == whole["stackTrace"][len(whole["stackTrace"]) - len(stack) :]
        if shortened["errorMessage"] != message:
            assert stack == []  # the stack is shortened first
            assert message.startswith(shortened["errorMessage"].removesuffix("…"))

    def test_a_message_of_many_megabytes_is_cut(self) -> None:
        assert len(ErrorReport(ValueError("ü" * 8_000_000)).body()) <= errors.MAX_BODY_BYTES

    @pytest.mark.parametrize("name", ["Two words", "Foo[int]", "Line\r\nBreak", "", "A" * 5000, "Überfehler"])
    def test_any_type_name_is_a_short_header_value(self, name: str) -> None:
        error_type = ErrorReport(type(name, (Exception,), {})("oh")).error_type
        assert error_type == "Function.Unknown" or (name == "A" * 5000 and len(error_type) < 300)


class TestTheLoggedDocument:
    """It tells what the error itself does not say: causes, contexts, sub-exceptions and notes."""

    def logged(self, error: BaseException) -> str:
        report = ErrorReport(error)
        assert report.document["stackTrace"] == []  # Lambda's own document stays that of the stock client
        return "".join(report.log_document["stackTrace"])

    def test_an_error_alone_has_nothing_more(self) -> None:
        assert raised().log_document == raised().document

    def test_a_nested_group_tells_every_sub_exception(self) -> None:
        inner = ExceptionGroup("inner", [KeyError("berth"), OSError("fog")])
        told = self.logged(ExceptionGroup("outer", [ValueError("tide"), inner]))
        assert "ExceptionGroup, 1 of 2: ValueError: tide\n" in told
        assert "ExceptionGroup, 1 of 2: KeyError: 'berth'\n" in told
        assert "ExceptionGroup, 2 of 2: OSError: fog\n" in told

    def test_causes_and_contexts_with_their_frames_but_not_a_suppressed_one(self) -> None:
        def chained() -> BaseException:
            try:
                try:
                    dict[str, str]()["first"]
                except KeyError as first:
                    raise ValueError("second") from first
            except ValueError:
                try:
                    Path("/missing/third").stat()
                except OSError as third:
                    return third
            raise AssertionError

        told = "".join(ErrorReport(chained()).log_document["stackTrace"])
        assert "FileNotFoundError was raised while handling: ValueError: second\n" in told
        assert "ValueError was caused by: KeyError: 'first'\n" in told
        assert 'dict[str, str]()["first"]' in told
        suppressed = ValueError("only this")
        suppressed.__context__, suppressed.__suppress_context__ = KeyError("hidden"), True
        assert self.logged(suppressed) == ""

    def test_notes_are_told(self) -> None:
        error = ValueError("tide")
        error.add_note("at the north pier")
        assert self.logged(error) == "at the north pier\n"
        error.__notes__ = 5  # type: ignore[assignment]
        assert self.logged(error) == ""

    def test_a_cycle_ends(self) -> None:
        one, two = ValueError("one"), ValueError("two")
        one.__cause__, two.__cause__ = two, one
        assert self.logged(one).count("ValueError: two") == 1

    def test_very_many_are_bounded(self) -> None:
        told = self.logged(ExceptionGroup("all", [ValueError(str(n)) for n in range(100_000)]))
        assert told.count("ValueError") == 20
        assert told.endswith("and more than 20 others\n")

    def test_one_without_a_text_is_still_told(self) -> None:
        class Awkward(Exception):
            @override
            def __str__(self) -> str:
                raise KeyError

        assert "<Awkward whose text raises KeyError>" in self.logged(ExceptionGroup("all", [Awkward()]))
