"""The errors of the engine: what each tells its caller, and that none of it is an operator's business."""

import re
from collections.abc import Iterator

import pytest

from winterbourne.chat import errors
from winterbourne.chat.errors import ChatError
from winterbourne.chat.providers.errors import ErrorHints, error_for_status
from winterbourne.chat.settings import Settings

OPERATORS_WORDS = re.compile(
    "|".join(
        [*Settings().values(), r"\b[A-Z]+_[A-Z_]+\b", r"https?:", r"HTTP \d", r"\b[45]\d\d\b", "Error", "Exception"]
    )
)


def below(kind: type[ChatError]) -> Iterator[type[ChatError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from below(each)


@pytest.mark.parametrize("kind", list(below(ChatError)), ids=lambda kind: kind.__name__)
def test_the_words_for_callers_are_those_of_the_class(kind: type[ChatError]) -> None:
    told = kind.public_message
    if isinstance(told, str):  # otherwise the message itself is written for callers
        assert not OPERATORS_WORDS.search(told)
    assert 400 <= kind.status < 600


@pytest.mark.parametrize("kind", list(below(errors.ModelError)), ids=lambda kind: kind.__name__)
def test_what_is_said_of_a_provider_is_not_told(kind: type[ChatError]) -> None:
    error = kind("gpt-5 answers 401; check OPENAI_API_KEY")
    assert str(error) not in error.public_message
    assert error.public_message.endswith(".")


@pytest.mark.parametrize("kind", [errors.SettingsError, errors.CredentialsMissing, errors.InvalidToolDeclaration])
def test_a_breakdown_of_the_deployment_is_told_as_no_more_than_that(kind: type[ChatError]) -> None:
    assert kind("API_KEYS_SECRET_ARN: AccessDenied").public_message == "Something went wrong on our side."


@pytest.mark.parametrize(
    "error",
    [
        errors.ToolError("There is no such port."),
        errors.ToolUnavailable("There is no such port."),
        errors.RequestRejected(400, "no_port", "There is no such port."),
        errors.InvalidHistory("no_port", "There is no such port."),
    ],
)
def test_what_is_written_for_callers_is_told_as_written(error: ChatError) -> None:
    assert error.public_message == "There is no such port."


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 500, 503, 529])
@pytest.mark.parametrize(
    "body", [b"", b'{"error":{"message":"no such key as OPENAI_API_KEY","code":"invalid_api_key"}}']
)
def test_no_answer_of_a_provider_reaches_the_caller(status: int, body: bytes) -> None:
    error = error_for_status(status, {}, body, ErrorHints("OPENAI_API_KEY", "OPENAI_BASE_URL"))
    assert not OPERATORS_WORDS.search(error.public_message)
