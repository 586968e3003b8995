"""Media: the images and documents of a request."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.formats.wire import attempt
from winterbourne.chat.core.messages import Document, Image, Text, UnusablePart
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats.media import MAX_IMAGE_CHARS, parse_file, usable_part
from winterbourne.chat.infra import redaction

PDF = base64.b64encode(b"%PDF-1.7\n").decode()
ZIP = base64.b64encode(b"PK\x03\x04....").decode()
OLE = base64.b64encode(b"\xd0\xcf\x11\xe0\xa1\xb1").decode()
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


class TestImages:
    def test_base64_and_data_urls_are_the_same_image(self) -> None:
        expected = Image("image/png", "aGk=")
        assert parse_file("image/png", data="aGk=") == expected
        assert parse_file("", url="data:image/png;base64,aGk=") == expected

    def test_an_https_url_is_accepted_as_it_is(self) -> None:
        assert parse_file("", url="https://example.com/a.png") == Image("", url="https://example.com/a.png")

    @pytest.mark.parametrize(
        "url",
        [
            "http://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
            "data:image/png,raw",
            "data:image/svg+xml;base64,aGk=",
            "data:image/png;base64,!!",
            "data:,",
        ],
    )
    def test_other_schemes_types_and_encodings_are_rejected(self, url: str) -> None:
        with pytest.raises(RequestRejected, match=r"^messages: "):
            parse_file("", url=url)

    @pytest.mark.parametrize(
        ("content", "media_type"),
        [
            (b"\x89PNG\r\n\x1a\n", "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"GIF89a", "image/gif"),
            (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        ],
    )
    def test_the_type_is_that_of_the_content(self, content: bytes, media_type: str) -> None:
        data = base64.b64encode(content).decode()
        for said in ("image/png", "image/jpg", "image/webp"):
            assert parse_file(said, data=data) == Image(media_type, data)

    @pytest.mark.parametrize("data", ["", "A" * (MAX_IMAGE_CHARS + 4), "aGk", "aGk=\n"])
    def test_data_that_a_provider_would_reject_is_rejected(self, data: str) -> None:
        with pytest.raises(RequestRejected):
            parse_file("", url=f"data:image/png;base64,{data}")

    def test_a_url_of_another_type_is_rejected(self) -> None:
        with pytest.raises(RequestRejected):
            parse_file("video/mp4", url="https://example.com/a")
        assert parse_file("image/*", url="https://example.com/a") == Image("", url="https://example.com/a")


class TestDocuments:
    @pytest.mark.parametrize(
        ("media_type", "data"),
        [
            ("application/pdf", PDF),
            (DOCX, ZIP),
            ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", ZIP),
            ("application/msword", OLE),
            ("application/vnd.ms-excel", OLE),
            ("text/plain", "aMO8"),
            ("text/csv; charset=utf-8", "YSxi"),
            ("application/json", "e30="),
            ("application/vnd.api+json", "e30="),
        ],
    )
    def test_each_kind_is_taken_as_it_is(self, media_type: str, data: str) -> None:
        expected = Document(media_type, "a", data)
        assert parse_file(media_type, name="a", data=data) == expected
        assert parse_file(media_type, name="a", url=f"data:{media_type};base64,{data}") == expected

    @pytest.mark.parametrize(
        ("media_type", "name", "data"),
        [
            ("", "plan.pdf", PDF),
            ("application/octet-stream", "plan.docx", ZIP),
            ("application/vnd.ms-excel", "a.csv", "YSxi"),
        ],
    )
    def test_the_name_says_what_the_media_type_leaves_open(self, media_type: str, name: str, data: str) -> None:
        parsed = parse_file(media_type, name=name, data=data)
        assert parsed == Document(media_type or "application/pdf", name, data)

    @pytest.mark.parametrize(
        "media_type", ["application/pdf", DOCX, "application/msword", "text/plain", "application/zip", "audio/wav"]
    )
    def test_content_of_another_kind_is_rejected(self, media_type: str) -> None:
        with pytest.raises(RequestRejected) as raised:
            parse_file(media_type, data="/wD/")
        assert (raised.value.status, raised.value.code) == (400, "unsupported_media")

    def test_a_type_that_nothing_can_use_is_told_what_can_be_used(self) -> None:
        with pytest.raises(
            RequestRejected, match=r"^messages: 'application/zip' is not one of image/gif, .*, pdf, txt, "
        ):
            parse_file("application/zip", data="/wD/")
        with pytest.raises(RequestRejected, match=r"^messages: 'image/tiff' is not one of .*, image/webp$"):
            parse_file("image/tiff", data="/wD/")

    def test_a_pdf_may_begin_with_something_else(self) -> None:
        data = base64.b64encode(b"\r\n" * 500 + b"%PDF-1.4").decode()
        assert parse_file("application/pdf", data=data) == Document("application/pdf", data=data)

    def test_percent_encoded_text_is_a_document(self) -> None:
        assert parse_file("", url="data:text/plain,h%C3%BC") == Document("text/plain", data="aMO8")

    @pytest.mark.parametrize("data", ["/w==", "!", "", "IAo="])
    def test_a_text_file_has_text_in_utf_8(self, data: str) -> None:
        with pytest.raises(RequestRejected):
            parse_file("", url=f"data:text/plain;base64,{data}")

    @pytest.mark.parametrize("before", ["", "x", "é", "\N{WATER WAVE}" * 40_000])
    def test_a_secret_in_a_text_file_is_masked(self, before: str) -> None:
        redaction.register("sk-harbour-42")
        data = base64.b64encode(f"{before}sk-harbour-42, é".encode()).decode()
        file = parse_file("text/plain", data=data)
        assert isinstance(file, Document)
        assert base64.b64decode(file.data, validate=True).decode() == f"{before}[redacted], é"

    def test_a_text_file_without_secrets_is_the_same(self) -> None:
        redaction.register("sk-harbour-42")
        assert parse_file("text/plain", data="77u/aGk=") == Document("text/plain", "", "77u/aGk=")

    def test_a_character_may_be_anywhere_in_a_long_text(self) -> None:
        data = base64.b64encode(b"x" * 49_151 + "ü".encode() * 50_000).decode()
        assert parse_file("text/plain", data=data) == Document("text/plain", data=data)

    @pytest.mark.parametrize("broken", ["A" * 65_535 + "=" + PDF, "A" * 70_000 + "!", "A" * 65_534 + "==" + "AAAA"])
    def test_base64_is_checked_to_its_end(self, broken: str) -> None:
        with pytest.raises(RequestRejected, match="base64"):
            parse_file("image/png", data=broken)

    def test_a_url_is_passed_on(self) -> None:
        url = "https://example.com/a.pdf"
        assert parse_file("application/pdf", url=url) == Document("application/pdf", url=url)


def test_what_is_rejected_has_a_line_in_its_place() -> None:
    part = usable_part("audio/wav", name="horn.wav", data="aGk=")
    assert isinstance(part, UnusablePart)
    assert part.text == "[a file of type audio/wav, horn.wav, that cannot be shown to this model]"


MEDIA_TYPES = st.one_of(st.text(), st.sampled_from(["", "image/png", "application/pdf", DOCX, "text/csv"]))
DATA = st.one_of(st.text(), st.binary().map(lambda content: base64.b64encode(content).decode()))


@given(MEDIA_TYPES, st.text(), DATA, st.one_of(st.text(), DATA.map("data:text/plain;base64,{}".format)))
def test_anything_is_a_file_or_rejected(media_type: str, name: str, data: str, url: str) -> None:
    outcome = attempt(lambda: parse_file(media_type, name=name, data=data, url=url))
    assert isinstance(outcome, Image | Document) or outcome.code == "unsupported_media"
    assert isinstance(usable_part(media_type, name=name, data=data, url=url), Text | Image | Document)
