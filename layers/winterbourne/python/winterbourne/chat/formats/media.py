"""Parses and validates the images and text files of a request: data: URLs, base64 data, https: URLs."""

import base64
import binascii
from typing import Final
from urllib.parse import unquote_to_bytes

from winterbourne.chat.core.messages import Image, Text
from winterbourne.chat.errors import RequestRejected

__all__ = ["parse_file", "parse_image"]

IMAGE_MEDIA_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""The image types that every provider accepts."""


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
    if url:
        if not url.startswith("https://"):
            raise _unsupported_media("a url must begin with https:// or data:")
        return Image(media_type, url=url)
    if media_type not in IMAGE_MEDIA_TYPES:
        raise _unsupported_media(f"{media_type[:64]!r} is not one of {', '.join(sorted(IMAGE_MEDIA_TYPES))}")
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        raise _unsupported_media("an image's data is not base64") from None
    return Image(media_type, data=data)


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
