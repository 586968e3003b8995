"""Static files: the chat page at `/` and its assets under `/web/`.

Reads the folder `page` once, at the first request for a file. Later paths are only looked up among what was read, so
none can escape the folder.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.service import RequestContext, reply

__all__ = ["StaticFile", "find_static_file", "serve_static_file"]

FOLDER: Final = Path(__file__).parents[2] / "page"

INDEX_HTML: Final = "index.html"

CONTENT_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# Everything is loaded from this origin and no markup is built from strings: Trusted Types without a policy disable
# every sink that would parse a string as HTML or script. Styles that scripts set through the CSSOM need no exception.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

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


async def serve_static_file(context: RequestContext) -> None:
    """Send the file at the path, or 304 if the browser has it already.

    Raises:
        RequestRejected: 404 if there is no file at the path.
    """
    file = find_static_file(context.request.path)
    if file is None:
        raise RequestRejected(404, "not_found", "there is nothing at this path")
    is_known = file.is_not_modified(context.request.headers.get("if-none-match", ""))
    await reply(context.stream, 304 if is_known else 200, b"" if is_known else file.body, file.headers)


def find_static_file(path: str) -> StaticFile | None:
    """The file at a path, or None.

    `/` is the page, `/web/VERSION/NAME` are its assets. For any other version, which a page loaded just before a
    deployment asks for, the current file is returned, to be revalidated on every use.

    Raises:
        OSError: The folder cannot be read; never after a first successful call.
    """
    version, files = _read_folder()
    if path == "/":
        return files[INDEX_HTML]
    match path.split("/"):
        case ["", "web", asked_version, name] if name in files and name != INDEX_HTML:
            file = files[name]
            if asked_version != version:
                return msgspec.structs.replace(file, headers={**file.headers, "cache-control": CACHE_REVALIDATE})
            return file
    return None


@functools.cache
def _read_folder() -> tuple[str, Mapping[str, StaticFile]]:
    """The version of all files together, and each file by its name."""
    names = sorted(path.name for path in FOLDER.iterdir() if path.suffix in CONTENT_TYPES)
    contents = {name: (FOLDER / name).read_bytes() for name in names}
    version = _digest(b"".join(contents.values()))
    contents[INDEX_HTML] = contents[INDEX_HTML].replace(b'"web/', b'"web/%s/' % version.encode())
    return version, {name: _make_static_file(name, body) for name, body in contents.items()}


def _make_static_file(name: str, body: bytes) -> StaticFile:
    cache_control = CACHE_REVALIDATE if name == INDEX_HTML else CACHE_IMMUTABLE
    content_type, etag = CONTENT_TYPES[Path(name).suffix], f'"{_digest(body)}"'
    headers = {"content-type": content_type, **SECURITY_HEADERS, "cache-control": cache_control, "etag": etag}
    return StaticFile(body, headers)


def _digest(body: bytes) -> str:
    import hashlib  # noqa: PLC0415 - only the page needs it; other requests should not pay for the import

    return hashlib.blake2b(body, digest_size=6).hexdigest()
