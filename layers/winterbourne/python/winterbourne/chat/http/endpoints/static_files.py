"""Static files: the chat page at `/`, one document for each language, and its logo under `/web/`.

A page is made at the first request for it. Paths are only looked up among what was made, so none can escape.
"""

import asyncio
import base64
import functools
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.endpoints.page_options import PageOptions
from winterbourne.chat.http.service import RequestContext, reply

__all__ = ["StaticFile", "StaticFiles"]

LOGO_TYPES: Final = {".png": "image/png", ".svg": "image/svg+xml"}

# No script or style runs but the two of the page, and no markup is built from strings: Trusted Types without a policy
# disable every sink that would parse a string as HTML or script. Styles that scripts set through the CSSOM need no
# exception.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'{issuer}; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

# Of a picture, shown as <img>, where no script runs; a browser may hold its own styles to its own policy.
PICTURE_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"

SECURITY_HEADERS: Final = {
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

# Every visit costs one invocation, which revalidates the page; the logo's URL contains its digest.
CACHE_REVALIDATE: Final = "no-cache"
CACHE_IMMUTABLE: Final = "public, max-age=31536000, immutable"

GZIP: Final = 16 + zlib.MAX_WBITS


class StaticFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file as served to GET and HEAD. Header names are in lower case; `gzipped` is empty if that saves nothing."""

    body: bytes
    headers: Mapping[str, str]
    gzipped: bytes = b""

    def is_not_modified(self, if_none_match: str) -> bool:
        """Whether the caller already has this file, in whatever encoding, so that the response is a 304 without a body.

        Source: RFC 9110, 13.1.2 (weak comparison).
        """
        tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
        return self.headers["etag"].removeprefix("W/") in tags or "*" in tags

    def encoded(self, accept_encoding: str) -> tuple[bytes, Mapping[str, str]]:
        """The body as the caller accepts it, and its headers."""
        if self.gzipped and "gzip" in accepted(accept_encoding):
            return self.gzipped, {**self.headers, "content-encoding": "gzip"}
        return self.body, self.headers


class StaticFiles(msgspec.Struct, frozen=True, dict=True):
    """The page of one chat, and its logo. `options` say how it looks, `config` returns what its scripts are told."""

    options: PageOptions
    config: Callable[[], Mapping[str, Any]] = dict

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
        # The first page of a language takes some 60 ms to make.
        file = await asyncio.to_thread(self.find, request.raw_path, request.headers.get("accept-language", ""))
        if file is None:
            raise RequestRejected(404, "not_found", "there is nothing at this path")
        if file.is_not_modified(request.headers.get("if-none-match", "")):
            await reply(context.stream, 304, b"", file.headers)
            return
        await reply(context.stream, 200, *file.encoded(request.headers.get("accept-encoding", "")))

    def find(self, path: str, accept_language: str = "") -> StaticFile | None:
        """The file at a path, or None: `/` is the page in one of the languages, `/web/DIGEST/logo.TYPE` its logo.

        Raises:
            OSError: A file cannot be read; never after a first successful call for that language.
        """
        from winterbourne.chat.http.endpoints.page_document import choose_language  # noqa: PLC0415 - as in _make_page

        return self._page(choose_language(accepted(accept_language))) if path == "/" else self._logo.get(path)

    def _page(self, language: str) -> StaticFile:
        if language not in self._pages:
            self._pages[language] = self._make_page(language)
        return self._pages[language]

    def _make_page(self, language: str) -> StaticFile:
        from winterbourne.chat.http.endpoints.page_document import make_document  # noqa: PLC0415 - only the page needs it

        config = self.config()
        document = make_document(self.options, config, next(iter(self._logo), "").removeprefix("/"), language)
        hashes = {"script": _csp_hash(document.script), "style": _csp_hash(document.style)}
        issuer = f" {sign_in.token_origin}" if (sign_in := config.get("signIn")) else ""
        policy = CONTENT_SECURITY_POLICY.format(**hashes, issuer=issuer)
        headers = {"cache-control": CACHE_REVALIDATE, "vary": "accept-encoding, accept-language, origin"}
        return _make_static_file(document.html, "text/html; charset=utf-8", policy, headers)

    @functools.cached_property
    def _pages(self) -> dict[str, StaticFile]:
        """Those that have been made, by their languages."""
        return {}

    @functools.cached_property
    def _logo(self) -> Mapping[str, StaticFile]:
        """The logo by its path, if there is one."""
        if not self.options.logo:
            return {}
        path = Path(self.options.logo)
        body, suffix = path.read_bytes(), path.suffix.lower()
        caching = {"cache-control": CACHE_IMMUTABLE}
        file = _make_static_file(body, LOGO_TYPES[suffix], PICTURE_POLICY, caching)
        return {f"/web/{_digest(body)}/logo{suffix}": file}


def accepted(header: str) -> list[str]:
    """What an Accept header names, in lower case: the most wanted first, without what it refuses.

    Source: RFC 9110, 12.4.2.
    """
    weights = dict[str, float]()
    for each in header.lower().split(","):
        name, _, parameters = each.partition(";")
        quality = re.search(r"\bq\s*=\s*([01](\.\d*)?)", parameters)
        weights[name.strip()] = float(quality[1]) if quality else 1.0
    return sorted((name for name, weight in weights.items() if name and weight > 0), key=lambda name: -weights[name])


def _make_static_file(body: bytes, content_type: str, policy: str, headers: Mapping[str, str]) -> StaticFile:
    about = {"content-type": content_type, "content-security-policy": policy, **SECURITY_HEADERS, **headers}
    if content_type == "image/png":
        return StaticFile(body=body, headers={**about, "etag": f'"{_digest(body)}"'})
    about = {"vary": "accept-encoding, origin", "etag": f'W/"{_digest(body)}"', **about}  # weak: of both encodings
    return StaticFile(body=body, headers=about, gzipped=zlib.compress(body, wbits=GZIP))


def _csp_hash(text: str) -> str:
    import hashlib  # noqa: PLC0415 - only the page needs it; other requests should not pay for the import

    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _digest(body: bytes) -> str:
    import hashlib  # noqa: PLC0415 - only the page needs it

    return hashlib.blake2b(body, digest_size=6).hexdigest()
