"""How the page of one chat looks: the options, and their limits."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from winterbourne.chat.errors import SettingsError

__all__ = ["FOOTER_LINK", "PageOptions", "suggestions_of"]

LOGO_TYPES: Final = (".svg", ".png")
MAX_LOGO_BYTES: Final = 100_000
MAX_TOOLS: Final = 4
MAX_SENTENCE: Final = 120
FOOTER_LINK: Final = re.compile(r"\[([^][\n]+)\]\((https://[\w-]+(?:\.[\w-]+)*(?::\d{1,5})?(?:[/?#][^\s()<>\"\\]*)?)\)")


class PageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the page of one chat looks.

    Attributes:
        title: Name of the chat, in the browser's tab and at the top of the page; at most 60 characters.
        greeting: What is shown before the first question: a heading and, after a blank line, a paragraph; at most 500
            characters. Empty: a neutral question.
        suggestions: Questions that are sent with one click; at most 6 of at most 200 characters. None: those of the
            tools, which whoever serves the page puts here.
        accent: Colour of links, focus, river and progress, as `#rgb` or `#rrggbb`; made lighter or darker where it
            could not be read. Empty: the colours of water.
        logo: Path of an .svg or .png file of at most 100 KB, shown before the title and as the icon of the browser's
            tab. An SVG runs no scripts. Empty: no logo.
        footer: Text at the end of the page, at most 300 characters; it may have one link, `[text](https://…)`.
        styles: Colours and fonts by the names of the page's CSS variables: `#rrggbb`, also for light and dark,
            `light-dark(#rrggbb, #rrggbb)`, or names of fonts. What is written in them must have enough contrast.
        are_filled: Whether a click puts a suggestion into the composer to be completed, instead of sending it.
        is_served: Whether there is a page at all.

    Raises:
        SettingsError: A value is invalid; the message names the argument.
    """

    title: str = "Chat"
    greeting: str = ""
    suggestions: Sequence[str] | None = ()
    accent: str = ""
    logo: str = ""
    footer: str = ""
    styles: Mapping[str, str] = {}
    are_filled: bool = False
    is_served: bool = True

    def __post_init__(self) -> None:
        """Validate the values: a wrong one is found when the environment starts, not by a user."""
        self._check_kinds()
        checks = {
            "title: expected text of 1 to 60 characters": self.title.strip() and len(self.title) <= 60,
            "greeting: expected text of at most 500 characters": len(self.greeting) <= 500,
            "suggestions: expected at most 6 texts of 1 to 200 characters": _are_suggestions(self.suggestions or ()),
            "accent: expected a colour as #rgb or #rrggbb": re.fullmatch("(#([0-9a-fA-F]{3}){1,2})?", self.accent),
            f"logo: expected an .svg or .png file of at most 100 KB, not {self.logo}": not self.logo
            or _is_logo(Path(self.logo)),
            "footer: expected at most 300 characters, with at most one link, [text](https://…)": _is_footer(
                self.footer
            ),
        }
        if unmet := [expected for expected, is_met in checks.items() if not is_met]:
            raise SettingsError("; ".join(unmet))
        if self.styles:  # on the page's own colours, any accent can be read
            self.variables()

    def variables(self) -> dict[str, str]:
        """The CSS variables in which the page differs from its own styles.

        Raises:
            SettingsError: A colour or font in `styles` is invalid, or a colour has too little contrast.
        """
        if not (self.accent or self.styles):
            return {}
        from winterbourne.chat.http.endpoints.page_colours import make_variables  # noqa: PLC0415 - few chats need it

        return make_variables(self.accent, self.styles)

    def _check_kinds(self) -> None:
        texts = self.title, self.greeting, self.accent, self.logo, self.footer
        checks = {
            "title, greeting, accent, logo and footer: expected text": _are_texts(texts),
            "suggestions: expected a list of texts": self.suggestions is None
            or (isinstance(self.suggestions, Sequence) and _are_texts(self.suggestions)),
            "styles: expected a dict of texts": isinstance(self.styles, Mapping)
            and _are_texts((*self.styles, *self.styles.values())),
            "page: expected True or False": isinstance(self.is_served, bool),
        }
        if unmet := [expected for expected, is_met in checks.items() if not is_met]:
            raise SettingsError("; ".join(unmet))


def suggestions_of(descriptions: Iterable[str]) -> tuple[str, ...]:
    """What a page may suggest of its own accord: what the first tools do, in a sentence each, to be completed.

    A tool of which nothing short is said is left out.
    """
    sentences = (_first_sentence(text) for text in descriptions)
    return tuple(islice((sentence for sentence in sentences if 0 < len(sentence) <= MAX_SENTENCE), MAX_TOOLS))


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.strip().split("\n\n", 1)[0].split())
    return re.split(r"(?<=[.!?])\s+(?=[^\Wa-z])", paragraph, maxsplit=1)[0].rstrip(".")


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def _are_suggestions(texts: Sequence[str]) -> bool:
    # A text alone, for which a comma was forgotten, would be a suggestion per letter.
    return not isinstance(texts, str) and len(texts) <= 6 and all(text.strip() and len(text) <= 200 for text in texts)


def _is_footer(text: str) -> bool:
    words = FOOTER_LINK.sub("", text, count=1)
    return len(text) <= 300 and "](" not in words


def _is_logo(path: Path) -> bool:
    return path.suffix.lower() in LOGO_TYPES and path.is_file() and path.stat().st_size <= MAX_LOGO_BYTES
