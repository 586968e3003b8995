"""Static files: which paths are served, their security headers, and their caching."""

import base64
import gzip
import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.http_events import RecordedResponse, call_endpoint, request
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.endpoints import page_document, static_files
from winterbourne.chat.http.endpoints.page_document import FOLDER
from winterbourne.chat.http.endpoints.page_options import PageOptions
from winterbourne.chat.http.endpoints.static_files import StaticFile, StaticFiles

PAGE = StaticFiles(PageOptions())
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
PNG = b"\x89PNG\r\n\x1a\n"


def find(path: str, page: StaticFiles = PAGE) -> StaticFile:
    file = page.find(path)
    assert file is not None, path
    return file


def links(page: StaticFiles = PAGE) -> set[str]:
    """Every URL of the page that a browser would load by itself."""
    found = re.findall(r'(?:href|src)="([^"#]+)"', find("/", page).body.decode())
    return {link for link in found if not link.startswith("data:")}


def with_logo(folder: Path, body: bytes = SVG, name: str = "logo.svg") -> StaticFiles:
    (folder / name).write_bytes(body)
    return StaticFiles(PageOptions(logo=str(folder / name)))


class TestPaths:
    def test_the_page_is_at_the_root(self) -> None:
        assert find("/").headers["content-type"] == "text/html; charset=utf-8"
        assert find("/").body.startswith(b"<!doctype html>")

    def test_the_page_is_one_request(self) -> None:
        assert links() == set()

    @pytest.mark.parametrize(("name", "body", "type_"), [("a.svg", SVG, "image/svg+xml"), ("b.PNG", PNG, "image/png")])
    def test_the_logo_is_the_only_other_file(self, tmp_path: Path, name: str, body: bytes, type_: str) -> None:
        page = with_logo(tmp_path, body, name)
        [link] = links(page)
        logo = find(f"/{link}", page)
        assert (logo.body, logo.headers["content-type"]) == (body, type_)

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "/index.html",
            "/web",
            "/web/",
            "/web/x/",
            "/web/x/index.html",
            "/web/x/logo.svg",
            "/web/x/../page_document.py",
            "/web/../../settings.py",
            "/web/x/%2e%2e/settings.py",
            "/web/x/..\\settings.py",
            "//web/x/app.js",
            "/web/x/app.js",
            "/app.js",
            "/etc/passwd",
        ],
    )
    def test_nothing_else_is_served(self, tmp_path: Path, path: str) -> None:
        assert with_logo(tmp_path).find(path) is None

    @given(st.text())
    def test_no_path_escapes_the_folder(self, text: str) -> None:
        for path in (text, f"/{text}", f"/web/{text}", f"/web/x/{text}"):
            assert path == "/" or PAGE.find(path) is None


class TestSecurity:
    def test_the_policy_allows_only_this_origin(self) -> None:
        policy = dict(rule.split(" ", 1) for rule in find("/").headers["content-security-policy"].split("; "))
        assert re.fullmatch(r"'sha256-[\w+/]{43}='", policy.pop("script-src"))
        assert re.fullmatch(r"'sha256-[\w+/]{43}='", policy.pop("style-src"))
        assert policy == {
            "default-src": "'none'",
            "connect-src": "'self'",
            "img-src": "'self' data: blob:",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
            "trusted-types": "'none'",
        }

    @pytest.mark.parametrize("tag", ["script", "style"])
    def test_the_policy_names_the_only_script_and_style_by_their_hashes(self, tag: str) -> None:
        file = find("/")
        [text] = re.findall(rf"<{tag}(?: type=module)?>(.*?)</{tag}>", file.body.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in file.headers["content-security-policy"]

    def test_no_type_is_sniffed_and_no_referrer_is_sent(self, tmp_path: Path) -> None:
        page = with_logo(tmp_path)
        for path in ("/", *(f"/{link}" for link in links(page))):
            assert find(path, page).headers["x-content-type-options"] == "nosniff"
            assert find(path, page).headers["referrer-policy"] == "no-referrer"

    def test_no_script_runs_in_a_logo(self, tmp_path: Path) -> None:
        page = with_logo(tmp_path)
        [link] = links(page)
        policy = find(f"/{link}", page).headers["content-security-policy"]
        assert policy == static_files.PICTURE_POLICY
        assert "script-src" not in policy, "default-src 'none' forbids every script"
        assert "sandbox" in policy

    def test_no_file_refers_to_another_origin(self) -> None:
        # XML namespaces and links to documentation are never fetched by the page.
        allowed = (b"http://www.w3.org/", b"https://html.spec.whatwg.org/", b"https://docs.aws.amazon.com/")
        for path in filter(Path.is_file, FOLDER.rglob("*")):
            found = re.findall(rb"(?:https?:)?//\w[\w.-]*\.\w+[^\s\"')]*", path.read_bytes())
            assert [address for address in found if not address.startswith(allowed)] == []

    def test_the_page_has_no_style_or_handler_in_an_attribute(self) -> None:
        html = re.sub(r"(?s)<(script|style).*?</\1>", "", find("/").body.decode())
        assert re.findall(r" style=| on\w+=", html) == []

    def test_no_script_builds_html_from_strings(self) -> None:
        scripts = "".join(path.read_text() for path in FOLDER.glob("*.js"))
        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", scripts) == []


class TestCaching:
    def test_the_page_is_revalidated_and_its_logo_is_cached(self, tmp_path: Path) -> None:
        page = with_logo(tmp_path)
        assert find("/", page).headers["cache-control"] == "no-cache"
        [link] = links(page)
        assert find(f"/{link}", page).headers["cache-control"] == "public, max-age=31536000, immutable"

    def test_another_logo_has_another_url(self, tmp_path: Path) -> None:
        assert links(with_logo(tmp_path)) != links(with_logo(tmp_path, SVG + b"\n"))

    def test_a_change_of_anything_in_it_changes_the_etag_of_the_page(self, tmp_path: Path) -> None:
        faces: list[dict[str, Any]] = [
            {},
            {"title": "Harbour desk"},
            {"greeting": "Ahoy"},
            {"suggestions": ("When is high water?",)},
            {"accent": "#123"},
            {"accent": "#124"},
        ]
        pages = [StaticFiles(PageOptions(**face)) for face in faces]
        pages += [with_logo(tmp_path), StaticFiles(PageOptions(), lambda: {"auth": "none"})]
        assert len({find("/", page).headers["etag"] for page in pages}) == len(pages)

    def test_the_files_are_read_once_and_not_before_the_first_request(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        page = with_logo(tmp_path, b"not read yet")
        (tmp_path / "logo.svg").write_bytes(SVG)
        [link] = links(page)
        (tmp_path / "logo.svg").unlink()
        monkeypatch.setattr(page_document, "FOLDER", Path("/nowhere"))
        assert find(f"/{link}", page).body == SVG
        assert find("/", page).body

    def test_a_matching_etag_means_not_modified(self, tmp_path: Path) -> None:
        page = with_logo(tmp_path, PNG, "logo.png")
        for path in ("/", *(f"/{link}" for link in links(page))):
            etag = find(path, page).headers["etag"]
            strong = etag.removeprefix("W/")
            for header in (etag, strong, f"W/{strong}", f'"other", {etag}', "*"):
                assert find(path, page).is_not_modified(header)
            for header in ("", '"other"', strong.strip('"')):
                assert not find(path, page).is_not_modified(header)


async def visit(path: str, page: StaticFiles = PAGE, **headers: str) -> RecordedResponse:
    page_request = request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return await call_endpoint(page.serve, page_request)


async def test_the_page_is_served_with_its_type_and_security_policy() -> None:
    response = await visit("/")
    assert (response.status, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "content-security-policy" in response.headers
    assert response.body.startswith(b"<!doctype html>")


async def test_a_matching_etag_gets_no_body() -> None:
    etag = (await visit("/")).headers["etag"]
    response = await visit("/", if_none_match=etag)
    assert (response.status, response.body, response.headers["etag"]) == (304, b"", etag)


async def test_any_other_path_is_not_found() -> None:
    with pytest.raises(RequestRejected) as rejection:
        await visit("/web/x/settings.py")
    assert rejection.value.status == 404


class TestCompression:
    @pytest.mark.parametrize(
        "header", ["gzip", "GZIP", "br, gzip", "gzip, deflate, br, zstd", "gzip;q=0.5", "br;q=1.0, gzip; q=0.001"]
    )
    async def test_the_page_is_compressed_for_who_takes_that(self, header: str) -> None:
        response = await visit("/", accept_encoding=header)
        assert response.headers["content-encoding"] == "gzip"
        assert gzip.decompress(response.body) == find("/").body
        assert len(response.body) < len(find("/").body) / 2

    @pytest.mark.parametrize("header", ["", "br", "identity", "gzip;q=0", "gzip;q=0.000, *", "gzipped"])
    async def test_for_all_others_it_is_not(self, header: str) -> None:
        response = await visit("/", accept_encoding=header)
        assert "content-encoding" not in response.headers
        assert response.body == find("/").body

    async def test_caches_are_told_what_the_page_depends_on_and_that_its_tag_is_of_both(self) -> None:
        for response in (await visit("/"), await visit("/", accept_encoding="gzip")):
            assert response.headers["vary"] == "accept-encoding, accept-language, origin"
            assert response.headers["etag"] == find("/").headers["etag"]
            assert response.headers["etag"].startswith('W/"')

    async def test_a_response_without_a_body_has_no_encoding(self) -> None:
        etag = find("/").headers["etag"]
        response = await visit("/", accept_encoding="gzip", if_none_match=etag)
        assert (response.status, "content-encoding" in response.headers) == (304, False)

    async def test_a_logo_is_compressed_if_it_is_text(self, tmp_path: Path) -> None:
        for name, body, is_text in (("a.svg", SVG, True), ("b.png", PNG, False)):
            page = with_logo(tmp_path, body, name)
            [link] = links(page)
            response = await visit(f"/{link}", page, accept_encoding="gzip")
            assert (response.headers.get("content-encoding") == "gzip") == is_text
            assert ("accept-encoding" in response.headers.get("vary", "")) == is_text


async def test_the_page_speaks_the_readers_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(FOLDER, tmp_path / "page"))
    (folder / "strings" / "de.json").write_text('{"page": {"greeting": "Was darf es sein?"}}')
    monkeypatch.setattr(page_document, "FOLDER", folder)
    page = StaticFiles(PageOptions())
    german, english, again = [await visit("/", page, accept_language=each) for each in ("de-AT, en", "en", "de")]
    assert b"Was darf es sein?" in german.body == again.body
    assert b"How can I help?" in english.body
    assert german.headers["etag"] != english.headers["etag"]
