"""Documents that a user sends: which kinds there are, which a model takes, and their text if they are text. Pure."""

import base64
import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from winterbourne.chat.core.capabilities import Capabilities
from winterbourne.chat.core.messages import Document, Image, Message, Text, UserMessage, UserPart
from winterbourne.chat.infra.redaction import Known, redact
from winterbourne.large_body import MIN_RUN_BYTES, LargeBody

__all__ = [
    "DOCUMENT_TYPES",
    "PDF",
    "TEXT_TYPES",
    "document_text",
    "document_type",
    "fit_documents",
    "is_too_large",
    "placeholder",
    "redact_text_file",
    "take_out_data",
    "takes_document",
    "with_user_parts",
]

PDF: Final = "application/pdf"

_OFFICE: Final = "application/vnd.openxmlformats-officedocument"

DOCUMENT_TYPES: Final = {
    PDF: "pdf",
    "text/plain": "txt",
    "text/csv": "csv",
    "text/html": "html",
    "text/markdown": "md",
    "application/msword": "doc",
    f"{_OFFICE}.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    f"{_OFFICE}.spreadsheetml.sheet": "xlsx",
}
"""The media types of documents, and how the names of such files end."""

TEXT_TYPES: Final = frozenset(name for name in DOCUMENT_TYPES if name.startswith("text/"))
"""Those that are text."""

_OTHER_TEXT: Final = (
    r"text/.+|application/([\w.-]+\+)?(json|ndjson|jsonl|xml|x?html|ya?ml|toml|sql|javascript|typescript)"
    r"|application/x-(ya?ml|ndjson|sh|python|javascript|httpd-php)"
)


def document_type(media_type: str, name: str = "") -> str:
    """The one of DOCUMENT_TYPES that a file is: text of any other type is text/plain. Empty for what is no document.

    Where the type says too little, the name decides: browsers know few types, and call a CSV file one of Excel.
    """
    known = media_type.lower().partition(";")[0].strip()
    if known in {"", "application/octet-stream", "application/vnd.ms-excel"}:
        ending = name.lower().rpartition(".")[2]
        known = next((kind for kind, each in DOCUMENT_TYPES.items() if each == ending), known)
    if known in DOCUMENT_TYPES:
        return known
    return "text/plain" if re.fullmatch(_OTHER_TEXT, known) else ""


def takes_document(capabilities: Capabilities, document: Document) -> bool:
    """Whether a model takes a document as it is."""
    kind = document_type(document.media_type, document.name)
    is_there = not document.url or (kind == PDF and capabilities.document_urls)
    return kind in capabilities.documents and is_there and not is_too_large(capabilities, document)


def is_too_large(capabilities: Capabilities, document: Document) -> bool:
    """Whether a document is larger than a model takes one."""
    return 0 < capabilities.document_bytes < len(document.data) * 3 // 4


def document_text(document: Document) -> str | None:
    """The text of a document that is text and here; None for any other."""
    if not document.data or document_type(document.media_type, document.name) not in TEXT_TYPES:
        return None
    return base64.b64decode(document.data).decode("utf-8-sig", "replace")


def redact_text_file(data: str) -> str:
    """The base64 of a text file without the secrets that are in the text: within base64 they are not recognized."""
    text = base64.b64decode(data).decode() if Known.index.forms else ""
    clean = redact(text)
    return data if clean is text else base64.b64encode(clean.encode()).decode()


def fit_documents(messages: Iterable[Message], capabilities: Capabilities) -> tuple[Message, ...]:
    """The messages as a model takes them: other documents are their text, after their name, or a line that says so."""

    def fitted(part: UserPart) -> UserPart:
        if not isinstance(part, Document) or takes_document(capabilities, part):
            return part
        if (text := document_text(part)) is None:
            return Text(placeholder(part.media_type, part.name))
        return Text(f"{part.name}:\n\n{text}\n\n" if part.name else text)

    return with_user_parts(messages, fitted)


def take_out_data(messages: Iterable[Message], *, texts: bool = True) -> tuple[tuple[Message, ...], LargeBody]:
    """The messages with a mark in the place of each large file's base64, and what the marks stand for.

    So that it need not be copied: to be encoded, searched for secrets, and buffered.

    Args:
        messages: The messages.
        texts: Whether files that are text are taken out, too.
    """
    taken = LargeBody()

    def slim(part: UserPart) -> UserPart:
        if not isinstance(part, Image | Document) or len(part.data) < MIN_RUN_BYTES:
            return part
        if not texts and isinstance(part, Document) and document_type(part.media_type, part.name) in TEXT_TYPES:
            return part
        return msgspec.structs.replace(part, data=taken.mark([part.data]))

    return with_user_parts(messages, slim), taken


def with_user_parts(messages: Iterable[Message], change: Callable[[UserPart], UserPart]) -> tuple[Message, ...]:
    """The messages with each part of the user's changed."""
    return tuple(
        msgspec.structs.replace(message, parts=tuple(map(change, message.parts)))
        if isinstance(message, UserMessage)
        else message
        for message in messages
    )


def placeholder(media_type: str, name: str = "") -> str:
    """The line that stands in the place of a file which no model can be shown."""
    kind, quoted = (re.sub(r"[^\w .,+/()-]", "", text)[:80] for text in (media_type, name))
    described = "a PDF" if kind == PDF else f"a file of type {kind}" if kind else "a file"
    return f"[{described}{f', {quoted},' if quoted else ''} that cannot be shown to this model]"
