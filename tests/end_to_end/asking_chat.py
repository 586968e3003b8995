"""A chat of its own whose tools ask first, for the tests of approvals with real clients."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.local_server import local_server

__all__ = ["AskingChat", "asking_chat"]

APP: Final = '''
from pathlib import Path
from winterbourne.chat import Chat, tool

RUNS = Path(__file__).with_name("runs.txt")


def ran(what: str) -> dict[str, str]:
    with RUNS.open("a") as runs:
        runs.write(what + "\\n")
    return {"done": what}


@tool(approval=lambda arguments, context: f"Pay {arguments.euros} EUR?")
def pay(euros: int) -> dict[str, str]:
    """Pay an amount.

    Args:
        euros: How much.
    """
    return ran(f"pay {euros}")


@tool(approval=True, approval_allows_edits=True)
def send_note(text: str, copies: int, is_urgent: bool) -> dict[str, str]:
    """Send a note.

    Args:
        text: What it says.
        copies: How many.
        is_urgent: Whether it is urgent.
    """
    return ran(f"send {copies} {is_urgent} {text}")


@tool
def look_up(word: str) -> dict[str, str]:
    """Look a word up.

    Args:
        word: The word.
    """
    return ran("look up")


chat = Chat(tools=[pay, send_note, look_up], mcp_endpoint="on")
handler = chat.handler
'''


class AskingChat:
    """A running chat.

    Attributes:
        url: Its base URL.
    """

    def __init__(self, url: str, runs: Path) -> None:
        self.url = url
        self._runs = runs

    @property
    def runs(self) -> list[str]:
        """What its tools have done since this was read last."""
        lines = self._runs.read_text().splitlines() if self._runs.exists() else []
        self._runs.unlink(missing_ok=True)
        return lines


@contextmanager
def asking_chat(root: Path, *more: str) -> Iterator[AskingChat]:
    """Start the chat in a folder of its own, with more settings if need be."""
    folder = root / "functions" / "chat"
    folder.mkdir(parents=True)
    for name, text in (("__init__.py", ""), ("app.py", APP)):
        (folder / name).write_text(text)
    settings = "SCRIPTED_WORDS_PER_SECOND=0", "SIGNING_KEY=one key for all environments of the chat", *more
    flags = "--task-root", str(folder.parent), "--concurrency", "3", *(f"--env={setting}" for setting in settings)
    with local_server(root, *flags) as server:
        yield AskingChat(server.url, folder / "runs.txt")
