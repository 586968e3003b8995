"""Parses and validates the images and text files of a request: data: URLs, base64 data, https: URLs."""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote_to_bytes

from winterbourne.chat.core.messages import Image, Text, UnusablePart, UserPart
from winterbourne.chat.errors import RequestRejected

__all__ = ["parse_file", "parse_image", "placeholder", "usable_part"]

IMAGE_MEDIA_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""The image types that every provider accepts."""

MAX_IMAGE_CHARS: Final = 5 * 1024 * 1024
"""The largest image in base64 that every provider accepts: 3.75 MB for Bedrock, which is 5 MB for Anthropic."""

_SIGNATURES: Final = (
    (re.compile(rb"\x89PNG\r\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)


def usable_part(parse: Callable[..., UserPart], media_type: str, *, name: str = "", **source: str) -> UserPart:
    """A part as `parse` reads it, or one that says why it cannot be used; its newest message is then rejected."""
    try:
        return parse(media_type=media_type, **source)
    except RequestRejected as error:
        return UnusablePart(placeholder(media_type or _data_url_media_type(source.get("url", "")), name), str(error))


def placeholder(media_type: str, name: str = "") -> str:
    """The line that stands in the place of a file which no model can be shown."""
    kind, quoted = (re.sub(r"[^\w .,+/()-]", "", text)[:80] for text in (media_type, name))
    described = "a PDF" if kind == "application/pdf" else f"a file of type {kind}" if kind else "a file"
    return f"[{described}{f', {quoted},' if quoted else ''} that cannot be shown to this model]"


def parse_file(url: str, media_type: str = "") -> Image | Text:
    """Parse a file part: an image, or the text of a text file in a data: URL.

    Raises:
        RequestRejected: 400 for any other kind of file.
    """
    media_type = media_type or _data_url_media_type(url)
    if media_type.startswith("text/") and url.startswith("data:"):
        return Text(_decode_text_data_url(url))
    return parse_image(media_type, url=url)


def parse_image(media_type: str, *, data: str = "", url: str = "") -> Image:
    """Parse an image from base64 `data` or from a `url` (https: or data:); exactly one of them must be set.

    Raises:
        RequestRejected: 400 for another media type or URL scheme, or if the data is not valid base64.
    """
    if bool(data) == bool(url):
        raise _unsupported_media("an image needs exactly one of data and url")
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        media_type, url = media_type or _data_url_media_type(head), ""
        if not head.endswith(";base64"):
            raise _unsupported_media("an image in a data: URL must be base64")
    media_type = "image/jpeg" if media_type == "image/jpg" else media_type
    if url and not url.startswith("https://"):
        raise _unsupported_media("a url must begin with https:// or data:")
    if url and media_type in {"", "image", "image/*"}:
        return Image("", url=url)
    if media_type not in IMAGE_MEDIA_TYPES:
        raise _unsupported_media(f"{media_type[:64]!r} is not one of {', '.join(sorted(IMAGE_MEDIA_TYPES))}")
    if url:
        return Image(media_type, url=url)
    return Image(_detect_media_type(data) or media_type, data=data)


def _detect_media_type(data: str) -> str:
    """The type of an image's content: providers reject an image whose type is not the one it is said to have."""
    if len(data) > MAX_IMAGE_CHARS:
        raise _unsupported_media(f"an image may have {MAX_IMAGE_CHARS} characters of base64 at most")
    try:
        content = binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        raise _unsupported_media("an image's data is not base64") from None
    if not content:
        raise _unsupported_media("an image without data")
    return next((kind for start, kind in _SIGNATURES if start.match(content)), "")


def _data_url_media_type(url: str) -> str:
    return url.partition(",")[0].removeprefix("data:").partition(";")[0] if url.startswith("data:") else ""


def _decode_text_data_url(url: str) -> str:
    head, _, data = url.partition(",")
    try:
        raw = base64.b64decode(data, validate=True) if head.endswith(";base64") else unquote_to_bytes(data)
        return raw.decode()
    except ValueError:
        raise _unsupported_media("a text file in a data: URL must be UTF-8, percent-encoded or base64") from None


def _unsupported_media(reason: str) -> RequestRejected:
    return RequestRejected(400, "unsupported_media", f"messages: {reason}")
