"""The chat page as one HTML document: styles and scripts of the folder `page` within it, so that it is one request.

On a cold function each further request could start an execution environment of its own. The modules stay what
browsers, editors and tests know: ES modules that import each other. Here each becomes a function that returns its
exports, in the order of their imports; comments and indentation are left out.
"""

import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from winterbourne.chat.http.endpoints.page_options import PageOptions

__all__ = ["FOLDER", "PageDocument", "make_document"]

FOLDER: Final = Path(__file__).parents[2] / "page"

# Keeps the hue of the accent colour. The limits of lightness give any colour, in light and dark, a contrast of 4.5:1 as
# text on all of the page's backgrounds, and of 3:1 as a line. Browsers that cannot do this keep the default colours.
ACCENT_RULE: Final = """
@supports (color: oklch(from red l c h)) {
  :root {
    --water: light-dark(oklch(from %(accent)s min(l, .48) c h), oklch(from %(accent)s max(l, .78) c h));
    --bright: light-dark(oklch(from %(accent)s min(l, .6) c h), oklch(from %(accent)s max(l, .62) c h));
    --wash: light-dark(oklch(from %(accent)s .96 min(c, .02) h), oklch(from %(accent)s .27 min(c, .03) h));
  }
}
"""

WAYS_IN: Final = {"key": "key", "sign_in": "signIn"}
"""Modules of which a page has one at most, with the section of its strings."""

IMPORT: Final = re.compile(r'^import (\{[^}]*\}) from "\./(\w+)\.js";\n', re.MULTILINE)
EXPORT: Final = re.compile(r"^export ((?:async )?(?:function\*?|class|const|let) (\w+))", re.MULTILINE)
SCRIPT_COMMENT: Final = re.compile(r"^[ \t]*(?://.*|/\*(?s:.*?)\*/)\n", re.MULTILINE)
STYLE_COMMENT: Final = re.compile(r"/\*(?s:.*?)\*/")


class PageDocument(msgspec.Struct, frozen=True):
    """The document, with the script and the style in it, whose hashes a content security policy names."""

    html: bytes
    script: str
    style: str


def make_document(options: PageOptions, config: Mapping[str, Any], logo_url: str = "") -> PageDocument:
    """The page with the options in it, as escaped text; `config` is what its scripts are told.

    A lone surrogate, which UTF-8 cannot say, becomes a `?`.
    """
    language = "en"
    strings = msgspec.json.decode((FOLDER / "strings" / f"{language}.json").read_bytes())
    way_in = _way_in(config)
    script, style = _bundle_scripts(way_in), _bundle_styles(options)
    template = re.sub(r"\n\s*", "\n", (FOLDER / "index.html").read_text())
    heading, *lede = re.split(r"\s*\n\s*\n\s*", options.greeting.strip() or strings["page"]["greeting"], maxsplit=1)
    button = '<li><button type="button" class="suggestion" dir="auto">{}</button></li>'
    buttons = "".join(button.format(escape(text)) for text in options.suggestions)
    others = {section for name, section in WAYS_IN.items() if name != way_in}
    spoken = {section: texts for section, texts in strings.items() if section not in others}
    told = msgspec.json.encode({**config, "strings": spoken}).decode().replace("<", "\\u003c")
    html = template.format(
        t=_escaped(strings),
        language=language,
        title=escape(options.title),
        icon=logo_url or f"data:image/svg+xml,{quote((FOLDER / 'icon.svg').read_text())}",
        logo=f'<img class="logo" src="{logo_url}" alt="">' if logo_url else "",
        heading=escape(heading),
        lede="".join(f'<p class="lede">{escape(text)}</p>' for text in lede),
        suggestions=f'<ul aria-label="{escape(strings["page"]["suggestions"])}">{buttons}</ul>' if buttons else "",
        style=style,
        config=told,
        script=script,
    )
    return PageDocument(html.encode(errors="replace"), script, style)


def _escaped(strings: Any) -> Any:
    return escape(strings) if isinstance(strings, str) else {name: _escaped(text) for name, text in strings.items()}


def _bundle_scripts(way_in: str) -> str:
    found: dict[str, str] = {}
    for name in filter(None, (way_in, "app")):
        _in_order(name, found)
    return "".join(_as_function(name, text) for name, text in found.items())


def _way_in(config: Mapping[str, Any]) -> str:
    """The module by which readers show who they are, if there is one: a scheme of one's own is taken to know keys."""
    if config.get("signIn"):
        return "sign_in"
    return "" if config.get("auth") in {"none", "iam", "jwt"} else "key"


def _in_order(name: str, found: dict[str, str]) -> dict[str, str]:
    """The module and those that it imports, each after what it imports itself."""
    text = (FOLDER / f"{name}.js").read_text()
    for _, imported in IMPORT.findall(text):
        if imported not in found:
            _in_order(imported, found)
    found[name] = text
    return found


def _as_function(name: str, text: str) -> str:
    exports = ", ".join(exported for _, exported in EXPORT.findall(text))
    body = EXPORT.sub(r"\1", IMPORT.sub(r"const \1 = \2_js;\n", text))
    return f"const {name}_js = (() => {{\n{''.join(_lines(body))}return {{ {exports} }};\n}})();\n"


def _lines(body: str) -> Iterator[str]:
    for line in SCRIPT_COMMENT.sub("", body).splitlines():
        if line.strip():
            yield f"{line.strip()}\n"


def _bundle_styles(options: PageOptions) -> str:
    styles = "".join(path.read_text() for path in sorted((FOLDER / "styles").iterdir()))
    if options.accent:
        styles += ACCENT_RULE % {"accent": options.accent}
    lines = STYLE_COMMENT.sub("", styles).splitlines()
    text = " ".join(line.strip() for line in lines if line.strip())
    return re.sub(r"\s*([{};,])\s*|(?<=:) ", r"\1", text).replace(";}", "}")
