"""Documents: their kinds, which a model takes, and their text."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.core.capabilities import Capabilities
from winterbourne.chat.core.documents import (
    DOCUMENT_TYPES,
    PDF,
    TEXT_TYPES,
    document_text,
    document_type,
    fit_documents,
    placeholder,
    takes_document,
)
from winterbourne.chat.core.messages import Document, Image, Text, UserMessage, UserPart


@pytest.mark.parametrize(
    ("media_type", "name", "kind"),
    [
        ("application/pdf", "", PDF),
        ("Application/PDF; x=1", "", PDF),
        ("text/csv;charset=utf-8", "", "text/csv"),
        ("text/x-python", "a.py", "text/plain"),
        ("application/json", "", "text/plain"),
        ("application/vnd.api+json", "", "text/plain"),
        ("application/x-yaml", "", "text/plain"),
        ("", "Plan.PDF", PDF),
        ("application/octet-stream", "notes.md", "text/markdown"),
        ("application/vnd.ms-excel", "tides.csv", "text/csv"),
        ("application/vnd.ms-excel", "tides.xls", "application/vnd.ms-excel"),
        ("", "plan", ""),
        ("application/zip", "plan.pdf", ""),
        ("image/svg+xml", "", ""),
        ("audio/wav", "", ""),
    ],
)
def test_a_file_is_the_document_that_its_type_and_name_say(media_type: str, name: str, kind: str) -> None:
    assert document_type(media_type, name) == kind


@given(st.text(), st.text())
def test_any_file_is_a_known_document_or_none(media_type: str, name: str) -> None:
    assert document_type(media_type, name) in {"", *DOCUMENT_TYPES}


def test_a_model_takes_what_its_capabilities_say_and_only_pdfs_by_url() -> None:
    able = Capabilities(documents=frozenset({PDF, "text/plain"}), document_urls=True)
    assert takes_document(able, Document(PDF, data="aGk="))
    assert takes_document(able, Document("application/json", data="aGk="))
    assert takes_document(able, Document(PDF, url="https://a"))
    assert not takes_document(able, Document("text/plain", url="https://a"))
    assert not takes_document(able, Document("text/csv", data="aGk="))
    assert not takes_document(Capabilities(documents=frozenset({PDF})), Document(PDF, url="https://a"))
    assert not takes_document(msgspec.structs.replace(able, document_bytes=2), Document(PDF, data="aGlq"))


@given(st.text(), st.sampled_from([*TEXT_TYPES, "application/json"]))
def test_the_text_of_a_document_is_what_was_encoded(text: str, media_type: str) -> None:
    data = base64.b64encode(text.encode("utf-8", "replace")).decode()
    expected = text.encode("utf-8", "replace").decode().removeprefix("\ufeff") if data else None
    assert document_text(Document(media_type, data=data)) == expected


def test_what_is_no_text_or_elsewhere_has_none() -> None:
    assert document_text(Document(PDF, data="aGk=")) is None
    assert document_text(Document("text/plain", url="https://a")) is None


def test_a_placeholder_names_what_it_stands_for() -> None:
    assert placeholder(PDF) == "[a PDF that cannot be shown to this model]"
    assert placeholder("a/b", "c]\nd") == "[a file of type a/b, cd, that cannot be shown to this model]"


def fitted(capabilities: Capabilities, *parts: UserPart) -> tuple[UserPart, ...]:
    [message] = fit_documents([UserMessage(parts)], capabilities)
    assert isinstance(message, UserMessage)
    return message.parts


class TestFitting:
    def test_what_a_model_takes_stays(self) -> None:
        parts = Document(PDF, "a.pdf", "aGk="), Image("image/png", "aGk="), Text("Hi")
        assert fitted(Capabilities(documents=frozenset({PDF})), *parts) == parts

    def test_text_is_its_text_after_its_name(self) -> None:
        assert fitted(Capabilities(), Document("text/csv", "a.csv", "YSxi"), Document("text/plain", data="YQ==")) == (
            Text("a.csv:\n\na,b\n\n"),
            Text("a"),
        )

    def test_what_it_does_not_take_is_a_line(self) -> None:
        line = Text("[a PDF, a.pdf, that cannot be shown to this model]")
        assert fitted(Capabilities(), Document(PDF, "a.pdf", "aGk=")) == (line,)
