"""Static files: the chat page at `/`, one document, and its logo under `/web/`.

The page is made at the first request for it. Paths are only looked up among what was made, so none can escape.
"""

import base64
import functools
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
        file = self.find(request.raw_path)
        if file is None:
            raise RequestRejected(404, "not_found", "there is nothing at this path")
        is_known = file.is_not_modified(request.headers.get("if-none-match", ""))
        await reply(context.stream, 304 if is_known else 200, b"" if is_known else file.body, file.headers)

    def find(self, path: str) -> StaticFile | None:
        """The file at a path, or None: `/` is the page, `/web/DIGEST/logo.TYPE` its logo.

        Raises:
            OSError: A file cannot be read; never after a first successful call.
        """
        return self._files.get(path)

    @functools.cached_property
    def _files(self) -> Mapping[str, StaticFile]:
        """Each file by its path."""
        from winterbourne.chat.http.endpoints.page_document import make_document  # noqa: PLC0415 - only the page needs it

        files = {f"/{url}": logo for url, logo in self._logo().items()}
        config = self.config()
        document = make_document(self.options, config, next(iter(files), "").removeprefix("/"))
        hashes = {"script": _csp_hash(document.script), "style": _csp_hash(document.style)}
        issuer = f" {sign_in.token_origin}" if (sign_in := config.get("signIn")) else ""
        policy = CONTENT_SECURITY_POLICY.format(**hashes, issuer=issuer)
        files["/"] = _make_static_file(document.html, "text/html; charset=utf-8", policy, CACHE_REVALIDATE)
        return files

    def _logo(self) -> dict[str, StaticFile]:
        if not self.options.logo:
            return {}
        path = Path(self.options.logo)
        body, suffix = path.read_bytes(), path.suffix.lower()
        file = _make_static_file(body, LOGO_TYPES[suffix], PICTURE_POLICY, CACHE_IMMUTABLE)
        return {f"web/{_digest(body)}/logo{suffix}": file}


def _make_static_file(body: bytes, content_type: str, policy: str, cache_control: str) -> StaticFile:
    headers = {"content-type": content_type, "content-security-policy": policy, **SECURITY_HEADERS}
    return StaticFile(body, {**headers, "cache-control": cache_control, "etag": f'"{_digest(body)}"'})


def _csp_hash(text: str) -> str:
    import hashlib  # noqa: PLC0415 - only the page needs it; other requests should not pay for the import

    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _digest(body: bytes) -> str:
    import hashlib  # noqa: PLC0415 - only the page needs it

    return hashlib.blake2b(body, digest_size=6).hexdigest()
