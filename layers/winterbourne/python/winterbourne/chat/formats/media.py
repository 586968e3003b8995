"""Images and small text files as wire formats bring them: as data: URLs, as base64, as addresses."""

import base64
import binascii
from typing import Final
from urllib.parse import unquote_to_bytes

from winterbourne.chat.core.messages import Image, Text
from winterbourne.chat.errors import RequestRejected

__all__ = ["file", "image"]

IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What every provider takes."""


def file(url: str, media_type: str = "") -> Image | Text:
    """A file part → an image, or the text of a text file in a data: URL.

    Raises:
        RequestRejected: 400 for any other kind of file.
    """
    media_type = media_type or _type_of(url)
    if media_type.startswith("text/") and url.startswith("data:"):
        return Text(_text(url))
    return image(media_type, url=url)


def image(media_type: str, *, data: str = "", url: str = "") -> Image:
    """An image from base64 `data` or from a `url` (https: or data:), of which exactly one is given.

    Raises:
        RequestRejected: 400 for another media type, another scheme, or base64 that is none.
    """
    if bool(data) == bool(url):
        raise _refused("an image has either data or a url")
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        media_type, url = media_type or _type_of(head), ""
        if not head.endswith(";base64"):
            raise _refused("an image in a data: URL must be base64")
    if url:
        return Image(media_type, url=_https(url))
    if media_type not in IMAGE_TYPES:
        raise _refused(f"{media_type[:64]!r} is not one of {', '.join(sorted(IMAGE_TYPES))}")
    return Image(media_type, data=_checked(data))


def _type_of(url: str) -> str:
    return url.partition(",")[0].removeprefix("data:").partition(";")[0] if url.startswith("data:") else ""


def _https(url: str) -> str:
    if not url.startswith("https://"):
        raise _refused("a url must begin with https:// or data:")
    return url


def _checked(data: str) -> str:
    try:
        binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError):
        raise _refused("an image's data is not base64") from None
    return data


def _text(url: str) -> str:
    head, _, data = url.partition(",")
    try:
        raw = base64.b64decode(data, validate=True) if head.endswith(";base64") else unquote_to_bytes(data)
        return raw.decode()
    except (binascii.Error, ValueError):
        raise _refused("a text file is not UTF-8 in a data: URL") from None


def _refused(reason: str) -> RequestRejected:
    return RequestRejected(400, "unsupported_media", f"messages: {reason}")
