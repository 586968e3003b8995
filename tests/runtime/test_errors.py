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

    def test_is_omitted_when_it_is_too_large_for_lambda(self) -> None:
        assert ErrorReport(ValueError("x" * 1024 * 1024)).xray_cause == ""


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
