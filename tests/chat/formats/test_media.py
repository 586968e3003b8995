"""Media: the images and text files of a request."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.formats.wire import attempt
from winterbourne.chat.core.messages import Image, Text
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.formats.media import MAX_IMAGE_CHARS, parse_file, parse_image


class TestImages:
    def test_base64_and_data_urls_are_the_same_image(self) -> None:
        expected = Image("image/png", "aGk=")
        assert parse_image("image/png", data="aGk=") == expected
        assert parse_image("", url="data:image/png;base64,aGk=") == expected

    def test_an_https_url_is_accepted_as_it_is(self) -> None:
        assert parse_image("", url="https://example.com/a.png") == Image("", url="https://example.com/a.png")

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
            parse_image("", url=url)

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
            assert parse_image(said, data=data) == Image(media_type, data)

    @pytest.mark.parametrize("data", ["", "A" * (MAX_IMAGE_CHARS + 4), "aGk", "aGk=\n"])
    def test_data_that_a_provider_would_reject_is_rejected(self, data: str) -> None:
        with pytest.raises(RequestRejected):
            parse_image("", url=f"data:image/png;base64,{data}")

    def test_a_url_of_another_type_is_rejected(self) -> None:
        with pytest.raises(RequestRejected):
            parse_image("video/mp4", url="https://example.com/a")
        assert parse_image("image/*", url="https://example.com/a") == Image("", url="https://example.com/a")

    @given(st.text(), st.text(), st.text())
    def test_anything_is_an_image_or_rejected(self, media_type: str, data: str, url: str) -> None:
        outcome = attempt(lambda: parse_image(media_type, data=data, url=url))
        assert isinstance(outcome, Image) or outcome.code == "unsupported_media"


class TestFiles:
    @pytest.mark.parametrize("url", ["data:text/plain;base64,aMO8", "data:text/plain,h%C3%BC"])
    def test_a_text_file_is_its_text(self, url: str) -> None:
        assert parse_file(url) == Text("hü")

    def test_an_image_file_is_an_image(self) -> None:
        assert parse_file("data:image/png;base64,aGk=", "image/png") == Image("image/png", "aGk=")

    @pytest.mark.parametrize(
        "url", ["data:text/plain;base64,/w==", "data:text/plain;base64,!", "data:application/pdf;base64,aGk=", ""]
    )
    def test_other_files_are_rejected(self, url: str) -> None:
        with pytest.raises(RequestRejected) as raised:
            parse_file(url)
        assert raised.value.code == "unsupported_media"
