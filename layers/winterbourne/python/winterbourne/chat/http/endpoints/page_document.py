"""The chat page as one HTML document: styles and scripts of the folder `page` within it, so that it is one request.

On a cold function each further request could start an execution environment of its own.
"""

import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from winterbourne.chat.http.endpoints.page_options import FOOTER_LINK, PageOptions
from winterbourne.chat.http.endpoints.page_script import bundle_scripts

__all__ = ["ENGLISH", "FOLDER", "PageDocument", "choose_language", "make_document"]

FOLDER: Final = Path(__file__).parents[2] / "page"

ENGLISH: Final = "en"
RIGHT_TO_LEFT: Final = frozenset(("ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"))

# What a data: URL in an attribute of HTML may have as it is.
ICON_SAFE: Final = " !$'()*+,-./:;=?@[]_{}~"

STYLE_COMMENT: Final = re.compile(r"/\*(?s:.*?)\*/")


class PageDocument(msgspec.Struct, frozen=True):
    """The document, with the script and the style in it, whose hashes a content security policy names."""

    html: bytes
    script: str
    style: str


def choose_language(wanted: Iterable[str]) -> str:
    """The language of the page for who wants one of these, as in `de-at`, the first most of all: English if need be.

    Source: RFC 4647, 3.4 (lookup); where there is only `pt-BR`, it is for all who want `pt` too.
    """
    languages = {path.stem.lower(): path.stem for path in sorted((FOLDER / "strings").glob("*.json"))}
    for each in wanted:
        subtags = each.split("-")
        for count in range(len(subtags), 0, -1):
            name = "-".join(subtags[:count])
            if found := [own for low, own in languages.items() if low == name or low.startswith(f"{name}-")]:
                return found[0]
    return ENGLISH


def make_document(
    options: PageOptions, config: Mapping[str, Any], logo_url: str = "", language: str = ENGLISH
) -> PageDocument:
    """The page with the options in it, as escaped text; `config` is what its scripts are told.

    A lone surrogate, which UTF-8 cannot say, becomes a `?`.
    """
    strings = _read_strings(language)
    keeping = () if config.get("isDurable", True) else ("kept_here",)
    script, style = bundle_scripts(FOLDER, *keeping, *_ways_in(config), "app"), _bundle_styles(options)
    template = _minified(FOLDER / "index.html")
    heading, *lede = re.split(r"\s*\n\s*\n\s*", options.greeting.strip() or strings["page"]["greeting"], maxsplit=1)
    told = msgspec.json.encode({**config, "strings": _told(strings, script)}).decode().replace("<", "\\u003c")
    html = template.format(
        t=_escaped(strings),
        language=language,
        direction=' dir="rtl"' if language.split("-", maxsplit=1)[0] in RIGHT_TO_LEFT else "",
        title=escape(options.title),
        icon=logo_url or f"data:image/svg+xml,{quote(_minified(FOLDER / 'icon.svg'), safe=ICON_SAFE)}",
        logo=f'<img class="logo" src="{logo_url}" alt="">' if logo_url else "",
        heading=escape(heading),
        lede="".join(f'<p class="lede">{escape(text)}</p>' for text in lede),
        suggestions=_suggestions(options, strings["page"]["suggestions"]),
        footer=f'<footer dir="auto">{_footer(options.footer)}</footer>' if options.footer else "",
        style=style,
        config=told,
        script=script,
    )
    return PageDocument(html.encode(errors="replace"), script, style)


def _read_strings(language: str) -> dict[str, dict[str, Any]]:
    """The page's words by section and name; those that a translation lacks are English."""
    english, own = (
        msgspec.json.decode((FOLDER / "strings" / f"{name}.json").read_bytes()) for name in (ENGLISH, language)
    )
    return {section: {**words, **own.get(section, {})} for section, words in english.items()}


def _escaped(strings: Any) -> Any:
    return escape(strings) if isinstance(strings, str) else {name: _escaped(text) for name, text in strings.items()}


def _told(strings: Mapping[str, Mapping[str, Any]], script: str) -> dict[str, dict[str, Any]]:
    """The strings that the scripts name, as `section.name`; all of a section if they name some by a variable."""
    named = set(re.findall(r"\b\w+\.\w+", script))
    wholes = set(re.findall(r"(?<=strings\.)\w+|(?<=[\"'`])\w+(?=\.(?!\w))", script))
    return {
        section: {name: text for name, text in words.items() if section in wholes or f"{section}.{name}" in named}
        for section, words in strings.items()
    }


def _minified(path: Path) -> str:
    """Markup without indentation, the line ends between elements, and the quotes that HTML does not need."""
    markup = re.sub(r"(?<=>)\n\s*(?=<)", "", re.sub(r"\n\s*", "\n", path.read_text()))
    return re.sub(r'="([\w-]+)"(?=[ >])', r"=\1", markup) if path.suffix == ".html" else markup


def _suggestions(options: PageOptions, label: str) -> str:
    kind = " data-fill" if options.are_filled else ""
    buttons = "".join(
        f'<li><button type="button" class="suggestion" dir="auto"{kind}>{escape(text)}</button></li>'
        for text in options.suggestions or ()
    )
    return buttons and f'<ul aria-label="{escape(label)}">{buttons}</ul>'


def _footer(text: str) -> str:
    """The text, with its link."""
    before, *link = FOOTER_LINK.split(text)
    if not link:
        return escape(before)
    words, url, after = map(escape, link)
    return f'{escape(before)}<a href="{url}" target="_blank" rel="noopener noreferrer">{words}</a>{after}'


def _ways_in(config: Mapping[str, Any]) -> list[str]:
    """The module by which readers show who they are, if there is one: a scheme of one's own is taken to know keys."""
    if config.get("signIn"):
        return ["sign_in"]
    return [] if config.get("auth") in {"none", "iam", "jwt"} else ["key"]


def _bundle_styles(options: PageOptions) -> str:
    styles = "".join(path.read_text() for path in sorted((FOLDER / "styles").iterdir()))
    if variables := options.variables():
        styles += f":root {{ {' '.join(f'{name}: {value};' for name, value in variables.items())} }}"
    lines = STYLE_COMMENT.sub("", styles).splitlines()
    text = " ".join(line.strip() for line in lines if line.strip())
    return re.sub(r"\s*([{};,])\s*|(?<=:) ", r"\1", text).replace(";}", "}")
