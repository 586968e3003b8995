"""A chat in an image."""

from datetime import UTC, datetime

from winterbourne.chat import Chat, tool


@tool
def current_time() -> str:
    """Tell what time it is in UTC."""
    return datetime.now(UTC).isoformat(timespec="minutes")


chat = Chat(tools=current_time, title="In an image")
handler = chat.handler
