"""What the model gets of an MCP tool's result: its text, its structured content, and a line for anything else. Pure.

Images, audio and files come as base64, which as text would cost tens of thousands of tokens and tell a model nothing.
https://modelcontextprotocol.io/specification/2025-11-25/server/tools#tool-result
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from winterbourne.chat.errors import ToolError

__all__ = ["tool_result"]

_MAX_LABEL_CHARS: Final = 200


def tool_result(result: Mapping[str, Any]) -> Any:
    """The structured content if there is any, without its copy as text; else the text, one line for each other part.

    Raises:
        ToolError: The tool reported an error; the message is the tool's own.
    """
    content = result.get("content") or []
    parts = content if isinstance(content, list) else [content]
    lines = [_text_of(part) for part in parts]
    if result.get("isError"):
        raise ToolError("\n".join(lines) or "The tool failed and gave no reason.")
    if (structured := result.get("structuredContent")) is None:
        return "\n".join(lines)
    others = [line for part, line in zip(parts, lines, strict=True) if not _is_text(part)]
    return {"structuredContent": structured, "content": others} if others else structured


def _is_text(part: Any) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and part.get("type") == "text")


def _text_of(part: Any) -> str:
    if isinstance(part, str):
        return part
    fields = part if isinstance(part, dict) else {}
    kind = str(fields.get("type"))
    resource = found if isinstance(found := fields.get("resource"), dict) else {}
    text = {"text": fields, "resource": resource}.get(kind, {}).get("text")
    return text if isinstance(text, str) else _line(*_labels(kind, fields, resource))


def _labels(kind: str, part: Mapping[str, Any], resource: Mapping[str, Any]) -> Sequence[Any]:
    labels: dict[str, Sequence[Any]] = {
        "image": ("an image", part.get("mimeType"), _size(part.get("data"))),
        "audio": ("audio", part.get("mimeType"), _size(part.get("data"))),
        "resource": ("a file", resource.get("uri"), resource.get("mimeType"), _size(resource.get("blob"))),
        "resource_link": ("a link", *map(part.get, ("title", "name", "description", "uri", "mimeType"))),
    }
    return labels.get(kind, ("content that cannot be shown", kind))


def _line(*labels: Any) -> str:
    """One line in brackets, of the labels that are texts; of a `data:` URI only what comes before the data."""
    texts = [" ".join(label.split()) for label in labels if isinstance(label, str)]
    shown = [text.partition(",")[0] if text.lower().startswith("data:") else text for text in texts if text]
    return f"[{', '.join(text[:_MAX_LABEL_CHARS] for text in shown)}]"


def _size(data: Any) -> str:
    """The size of what is encoded in base64."""
    size = len(data) * 3 // 4 if isinstance(data, str) else 0
    return f"{max(1, round(size / 1024))} KB" if size else ""
