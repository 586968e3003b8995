"""How the page of one chat looks: the options, and their limits."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from winterbourne.chat.errors import SettingsError

__all__ = ["PageOptions"]

LOGO_TYPES: Final = (".svg", ".png")
MAX_LOGO_BYTES: Final = 100_000


class PageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the page of one chat looks.

    Attributes:
        title: Name of the chat, in the browser's tab and at the top of the page; at most 60 characters.
        greeting: What is shown before the first question: a heading and, after a blank line, a paragraph; at most 500
            characters. Empty: a neutral question.
        suggestions: Questions that are sent with one click; at most 6 of at most 200 characters.
        accent: Colour of links, focus, river and progress, as `#rgb` or `#rrggbb`; made lighter or darker where it
            could not be read. Empty: the colours of water.
        logo: Path of an .svg or .png file of at most 100 KB, shown before the title and as the icon of the browser's
            tab. An SVG runs no scripts. Empty: no logo.

    Raises:
        SettingsError: A value is invalid; the message names the argument.
    """

    title: str = "Chat"
    greeting: str = ""
    suggestions: Sequence[str] = ()
    accent: str = ""
    logo: str = ""

    def __post_init__(self) -> None:
        """Validate the values: a wrong one is found when the environment starts, not by a user."""
        texts = (self.title, self.greeting, self.accent, self.logo, *(self.suggestions or ()))
        if not isinstance(self.suggestions, Sequence) or not all(isinstance(text, str) for text in texts):
            expected = "title, greeting, accent and logo: expected text; suggestions: expected a list of texts"
            raise SettingsError(expected)
        checks = {
            "title: expected text of 1 to 60 characters": self.title.strip() and len(self.title) <= 60,
            "greeting: expected text of at most 500 characters": len(self.greeting) <= 500,
            "suggestions: expected at most 6 texts of 1 to 200 characters": _are_suggestions(self.suggestions),
            "accent: expected a colour as #rgb or #rrggbb": re.fullmatch("(#([0-9a-fA-F]{3}){1,2})?", self.accent),
            f"logo: expected an .svg or .png file of at most 100 KB, not {self.logo}": not self.logo
            or _is_logo(Path(self.logo)),
        }
        if unmet := [expected for expected, is_met in checks.items() if not is_met]:
            raise SettingsError("; ".join(unmet))


def _are_suggestions(texts: Sequence[str]) -> bool:
    # A text alone, for which a comma was forgotten, would be a suggestion per letter.
    return not isinstance(texts, str) and len(texts) <= 6 and all(text.strip() and len(text) <= 200 for text in texts)


def _is_logo(path: Path) -> bool:
    return path.suffix.lower() in LOGO_TYPES and path.is_file() and path.stat().st_size <= MAX_LOGO_BYTES
