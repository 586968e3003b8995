"""Static files: the chat page at `/`, as a chat wants it to look, and its assets under `/web/`.

Reads the folder `page` once, at the first request for a file. Later paths are only looked up among what was read, so
none can escape the folder.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from winterbourne.chat.errors import RequestRejected, SettingsError
from winterbourne.chat.http.service import RequestContext, reply

__all__ = ["PageOptions", "StaticFile", "StaticFiles"]

FOLDER: Final = Path(__file__).parents[2] / "page"

INDEX_HTML: Final = "index.html"

DEFAULT_GREETING: Final = "How can I help?"
LOGO_TYPES: Final = (".svg", ".png")
MAX_LOGO_BYTES: Final = 100_000

CONTENT_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}

# Everything is loaded from this origin and no markup is built from strings: Trusted Types without a policy disable
# every sink that would parse a string as HTML or script. Styles that scripts set through the CSSOM need no exception.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

# Of a picture, shown as <img>, where no script runs; a browser may hold its own styles to its own policy.
PICTURE_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"

SECURITY_HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

# The page's asset URLs contain their version, so a browser fetches each asset once per deployment; every further visit
# costs one invocation, which revalidates the page.
CACHE_REVALIDATE: Final = "no-cache"
CACHE_IMMUTABLE: Final = "public, max-age=31536000, immutable"


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


class StaticFile(msgspec.Struct, frozen=True):
    """One file as served to GET and HEAD. Header names are in lower case."""

    body: bytes
    headers: Mapping[str, str]

    def is_not_modified(self, if_none_match: str) -> bool:
        """Whether the caller already has these bytes, so that the response is a 304 without a body.

        Source: RFC 9110, 13.1.2 (weak comparison, because compressing proxies weaken the tag).
        """
        tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
        return self.headers["etag"] in tags or "*" in tags


class StaticFiles(msgspec.Struct, frozen=True, dict=True):
    """The page of one chat and its assets. `options` say how it looks."""

    options: PageOptions

    async def serve(self, context: RequestContext) -> None:
        """Send the file at the path, or 304 if the browser has it already; for a stage without a slash, where it is.

        Raises:
            RequestRejected: 404 if there is no file at the path.
        """
        request = context.request
        if request.page:
            query = f"?{request.raw_query}" if request.raw_query else ""
            await reply(context.stream, 308, b"", {"location": request.page + query})
            return
        file = self.find(request.raw_path)
        if file is None:
            raise RequestRejected(404, "not_found", "there is nothing at this path")
        is_known = file.is_not_modified(request.headers.get("if-none-match", ""))
        await reply(context.stream, 304 if is_known else 200, b"" if is_known else file.body, file.headers)

    def find(self, path: str) -> StaticFile | None:
        """The file at a path, or None.

        `/` is the page, `/web/VERSION/NAME` are its assets. For any other version, which a page loaded just before a
        deployment asks for, the current file is returned, to be revalidated on every use.

        Raises:
            OSError: A file cannot be read; never after a first successful call.
        """
        version, files = self._files
        if path == "/":
            return files[INDEX_HTML]
        match path.split("/"):
            case ["", "web", asked_version, name] if name in files and name != INDEX_HTML:
                file = files[name]
                if asked_version != version:
                    return msgspec.structs.replace(file, headers={**file.headers, "cache-control": CACHE_REVALIDATE})
                return file
        return None

    @functools.cached_property
    def _files(self) -> tuple[str, Mapping[str, StaticFile]]:
        """The version of all files together, and each file by its name."""
        contents = _read_contents(self.options)
        version = _digest(b"".join(contents.values()))
        contents[INDEX_HTML] = contents[INDEX_HTML].replace(b'"web/', b'"web/%s/' % version.encode())
        return version, {name: _make_static_file(name, body) for name, body in contents.items()}


def _read_contents(options: PageOptions) -> dict[str, bytes]:
    """The folder's files and the logo by their names, with the options in them."""
    contents = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in CONTENT_TYPES}
    logo = f"logo{Path(options.logo).suffix.lower()}" if options.logo else ""
    if logo:
        contents[logo] = Path(options.logo).read_bytes()
    if options.accent:
        contents["style.css"] += (ACCENT_RULE % {"accent": options.accent}).encode()
    contents[INDEX_HTML] = _render(contents[INDEX_HTML].decode(), options, logo)
    return contents


def _render(template: str, options: PageOptions, logo: str) -> bytes:
    """The page with the options in it, as escaped text. A lone surrogate, which UTF-8 cannot say, becomes a `?`."""
    from html import escape  # noqa: PLC0415 - only the page needs it

    heading, *lede = re.split(r"\s*\n\s*\n\s*", options.greeting.strip() or DEFAULT_GREETING, maxsplit=1)
    button = '<li><button type="button" class="suggestion" dir="auto">{}</button></li>'
    buttons = "".join(button.format(escape(text)) for text in options.suggestions)
    return template.format(
        title=escape(options.title),
        icon=logo or "icon.svg",
        logo=f'<img class="logo" src="web/{logo}" alt="">' if logo else "",
        heading=escape(heading),
        lede="".join(f'<p class="lede">{escape(text)}</p>' for text in lede),
        suggestions=f'<ul aria-label="Suggestions">{buttons}</ul>' if buttons else "",
    ).encode(errors="replace")


def _make_static_file(name: str, body: bytes) -> StaticFile:
    cache_control = CACHE_REVALIDATE if name == INDEX_HTML else CACHE_IMMUTABLE
    content_type, etag = CONTENT_TYPES[Path(name).suffix], f'"{_digest(body)}"'
    headers = {"content-type": content_type, **SECURITY_HEADERS, "cache-control": cache_control, "etag": etag}
    if content_type.startswith("image/"):
        headers["content-security-policy"] = PICTURE_POLICY
    return StaticFile(body, headers)


def _digest(body: bytes) -> str:
    import hashlib  # noqa: PLC0415 - only the page needs it; other requests should not pay for the import

    return hashlib.blake2b(body, digest_size=6).hexdigest()
