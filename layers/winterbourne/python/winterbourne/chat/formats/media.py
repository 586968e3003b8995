"""Parses and validates the images and documents of a request: data: URLs, base64 data, https: URLs."""

import base64
import binascii
import codecs
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from winterbourne.chat.core.documents import DOCUMENT_TYPES, TEXT_TYPES, document_type, placeholder, redact_text_file
from winterbourne.chat.core.messages import Document, Image, UnusablePart, UserPart
from winterbourne.chat.errors import RequestRejected

__all__ = ["parse_file", "usable_part"]

IMAGE_MEDIA_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""The image types that every provider accepts."""

MAX_IMAGE_CHARS: Final = 5 * 1024 * 1024
"""The largest image in base64 that every provider accepts: 3.75 MB for Bedrock, which is 5 MB for Anthropic."""

MAX_NAME_CHARS: Final = 200

_SIGNATURES: Final = (
    (re.compile(rb"\x89PNG\r\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)
_ZIP, _OLE = re.compile(rb"PK\x03\x04"), re.compile(rb"\xd0\xcf\x11\xe0")
_DOCUMENT_SIGNATURES: Final = {
    "pdf": re.compile(rb".{0,1024}%PDF-", re.DOTALL),
    **dict.fromkeys(("docx", "xlsx"), _ZIP),
    **dict.fromkeys(("doc", "xls"), _OLE),
}
_PIECE_CHARS: Final = 64 * 1024  # of base64 that are decoded at once: a large file is never there twice


def usable_part(media_type: str, *, name: str = "", data: str = "", url: str = "") -> UserPart:
    """A file as a part, or one that says why it cannot be used; its newest message is then rejected."""
    try:
        return parse_file(media_type, name=name, data=data, url=url)
    except RequestRejected as error:
        line = placeholder(media_type or _data_url_media_type(url), name)
        return UnusablePart(line, str(error))


def parse_file(media_type: str, *, name: str = "", data: str = "", url: str = "") -> Image | Document:
    """Parse an image or a document from base64 `data` or from a `url` (https: or data:); exactly one of them is set.

    Raises:
        RequestRejected: 400 for another type or URL scheme, if the data is not valid base64, or is no file of its type.
    """
    media_type = media_type or _data_url_media_type(url)
    kind = document_type(media_type, name)
    what = "a document" if kind else "an image"
    if bool(data) == bool(url):
        raise _unsupported_media(f"{what} needs exactly one of data and url")
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        url = ""
        if not head.endswith(";base64"):
            if kind not in TEXT_TYPES:
                raise _unsupported_media(f"{what} in a data: URL must be base64")
            data = base64.b64encode(unquote_to_bytes(data)).decode()
    if url and not url.startswith("https://"):
        raise _unsupported_media("a url must begin with https:// or data:")
    if kind:
        if not url:
            _check_document(kind, data)
        data = redact_text_file(data) if kind in TEXT_TYPES else data
        return Document(media_type or kind, name[:MAX_NAME_CHARS], data, url)
    return _parse_image(media_type, data, url)


def _parse_image(media_type: str, data: str, url: str) -> Image:
    media_type = "image/jpeg" if media_type == "image/jpg" else media_type
    if url and media_type in {"", "image", "image/*"}:
        return Image("", url=url)
    if media_type not in IMAGE_MEDIA_TYPES:
        documents = () if media_type.startswith("image/") else DOCUMENT_TYPES.values()
        taken = ", ".join((*sorted(IMAGE_MEDIA_TYPES), *documents))
        raise _unsupported_media(f"{media_type[:64]!r} is not one of {taken}")
    if url:
        return Image(media_type, url=url)
    return Image(_detect_media_type(data) or media_type, data=data)


def _detect_media_type(data: str) -> str:
    """The type of an image's content: providers reject an image whose type is not the one it is said to have."""
    if len(data) > MAX_IMAGE_CHARS:
        raise _unsupported_media(f"an image may have {MAX_IMAGE_CHARS} characters of base64 at most")
    start = _start_of(data, "an image")
    return next((kind for signature, kind in _SIGNATURES if signature.match(start)), "")


def _check_document(kind: str, data: str) -> None:
    """Reject what a provider would: it would be asked in vain."""
    if kind in TEXT_TYPES:
        _check_text(_decode(data, "a document"))
    elif not _DOCUMENT_SIGNATURES[DOCUMENT_TYPES[kind]].match(_start_of(data, "a document")):
        raise _unsupported_media(
            f"the document is not the {DOCUMENT_TYPES[kind].upper()} file that its type says it is"
        )


def _check_text(pieces: Iterator[bytes]) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        blanks = {decoder.decode(piece).isspace() for piece in pieces}
        decoder.decode(b"", final=True)
    except ValueError:
        raise _unsupported_media("a text file must be UTF-8") from None
    if False not in blanks:
        raise _unsupported_media("a text file without text")


def _start_of(data: str, what: str) -> bytes:
    """The start of a file all of which is valid base64."""
    start, *_ = (piece[:2048] for piece in _decode(data, what))
    return start


def _decode(data: str, what: str) -> Iterator[bytes]:
    """The content that base64 stands for, in pieces: at least one."""
    try:
        for start in range(0, len(data), _PIECE_CHARS):
            piece = data[start : start + _PIECE_CHARS]
            if piece.endswith("=") and start + _PIECE_CHARS < len(data):
                raise ValueError  # noqa: TRY301 - as `a2b_base64` does
            yield binascii.a2b_base64(piece, strict_mode=True)
    except ValueError:
        raise _unsupported_media(f"{what}'s data is not base64") from None
    if not data:
        raise _unsupported_media(f"{what} without data")


def _data_url_media_type(url: str) -> str:
    return url.partition(",")[0].removeprefix("data:").partition(";")[0] if url.startswith("data:") else ""


def _unsupported_media(reason: str) -> RequestRejected:
    return RequestRejected(400, "unsupported_media", f"messages: {reason}")
