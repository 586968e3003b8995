"""Static files: which paths are served, their security headers and caching, and the total size of the page."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.http_events import RecordedResponse, call_endpoint, request
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.endpoints import static_files as page
from winterbourne.chat.http.endpoints.static_files import FOLDER, StaticFile, serve_static_file

BUDGET_BYTES = 60_000
ASSETS = {file.name for file in FOLDER.iterdir()} - {page.INDEX_HTML}


def find(path: str) -> StaticFile:
    file = page.find_static_file(path)
    assert file is not None, path
    return file


def links() -> list[str]:
    """Every URL that the page links to."""
    return re.findall(r'(?:href|src)="([^"#]+)"', find("/").body.decode())


class TestPaths:
    def test_the_page_is_at_the_root(self) -> None:
        assert find("/").headers["content-type"] == "text/html; charset=utf-8"
        assert find("/").body.startswith(b"<!doctype html>")

    def test_every_file_the_page_links_to_exists(self) -> None:
        assert links()
        for link in links():
            find(f"/{link}")

    def test_every_module_is_linked_from_the_page_so_that_all_load_in_parallel(self) -> None:
        named = {link.rpartition("/")[2] for link in links()}
        assert named == ASSETS

    def test_every_file_of_the_folder_is_served(self) -> None:
        assert all(find(f"/web/x/{name}").body == (FOLDER / name).read_bytes() for name in ASSETS)

    def test_each_file_has_its_own_type(self) -> None:
        types = {link.rpartition(".")[2]: find(f"/{link}").headers["content-type"] for link in links()}
        assert types == {
            "css": "text/css; charset=utf-8",
            "js": "text/javascript; charset=utf-8",
            "svg": "image/svg+xml",
        }

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "/index.html",
            "/web",
            "/web/",
            "/web/x/",
            "/web/x/index.html",
            "/web/x/../web.py",
            "/web/../../settings.py",
            "/web/x/%2e%2e/settings.py",
            "/web/x/..\\settings.py",
            "//web/x/app.js",
            "/web/x/y/app.js",
            "/app.js",
            "/etc/passwd",
        ],
    )
    def test_nothing_else_is_served(self, path: str) -> None:
        assert page.find_static_file(path) is None

    @given(st.text())
    def test_no_path_escapes_the_folder(self, text: str) -> None:
        for path in (text, f"/{text}", f"/web/{text}", f"/web/x/{text}"):
            file = page.find_static_file(path)
            assert file is None or path == "/" or path.rpartition("/")[2] in ASSETS


class TestSecurity:
    @pytest.fixture(params=["/", "/web/x/app.js", "/web/x/style.css", "/web/x/icon.svg"])
    def file(self, request: pytest.FixtureRequest) -> StaticFile:
        return find(request.param)

    def test_the_policy_allows_only_this_origin(self, file: StaticFile) -> None:
        policy = dict(rule.split(" ", 1) for rule in file.headers["content-security-policy"].split("; "))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "connect-src": "'self'",
            "img-src": "'self' data:",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
            "trusted-types": "'none'",
        }

    def test_no_type_is_sniffed_and_no_referrer_is_sent(self, file: StaticFile) -> None:
        assert file.headers["x-content-type-options"] == "nosniff"
        assert file.headers["referrer-policy"] == "no-referrer"

    def test_no_file_refers_to_another_origin(self) -> None:
        # XML namespaces and links to documentation are never fetched by the page.
        allowed = (b"http://www.w3.org/", b"https://html.spec.whatwg.org/", b"https://docs.aws.amazon.com/")
        for path in FOLDER.iterdir():
            found = re.findall(rb"(?:https?:)?//\w[\w.-]*\.\w+[^\s\"')]*", path.read_bytes())
            assert [address for address in found if not address.startswith(allowed)] == []

    def test_the_page_has_no_inline_script_or_style(self) -> None:
        html = find("/").body.decode()
        assert re.findall(r"<script(?![^>]*src=)|<style| style=| on\w+=", html) == []

    def test_no_script_builds_html_from_strings(self) -> None:
        scripts = "".join(path.read_text() for path in FOLDER.glob("*.js"))
        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", scripts) == []


class TestCaching:
    def test_the_page_is_revalidated_and_its_files_are_cached(self) -> None:
        assert find("/").headers["cache-control"] == "no-cache"
        for link in links():
            assert find(f"/{link}").headers["cache-control"] == "public, max-age=31536000, immutable"

    def test_a_file_of_another_version_is_the_current_one_and_not_cached(self) -> None:
        old = find("/web/0123456789abcdef/app.js")
        assert old.body == (FOLDER / "app.js").read_bytes()
        assert old.headers["cache-control"] == "no-cache"

    def test_a_change_of_any_file_changes_every_url(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = links()
        for file in FOLDER.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        (tmp_path / "turns.js").write_bytes(b"// changed")
        monkeypatch.setattr(page, "FOLDER", tmp_path)
        page._read_folder.cache_clear()
        try:
            assert set(before).isdisjoint(links())
        finally:
            page._read_folder.cache_clear()

    def test_a_file_of_a_kind_that_is_not_served_is_left_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in (page.INDEX_HTML, "app.js", ".DS_Store", "app.js.orig"):
            (tmp_path / name).write_bytes(b"x")
        monkeypatch.setattr(page, "FOLDER", tmp_path)
        page._read_folder.cache_clear()
        try:
            assert find("/web/x/app.js").body == b"x"
            assert page.find_static_file("/web/x/.DS_Store") is None
            assert page.find_static_file("/web/x/app.js.orig") is None
        finally:
            page._read_folder.cache_clear()

    def test_the_files_are_read_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        find("/")
        monkeypatch.setattr(page, "FOLDER", Path("/nowhere"))
        assert find("/web/x/app.js").body

    def test_a_matching_etag_means_not_modified(self) -> None:
        file = find("/")
        etag = file.headers["etag"]
        assert all(file.is_not_modified(header) for header in (etag, f"W/{etag}", f'"other", {etag}', "*"))
        assert not any(file.is_not_modified(header) for header in ("", '"other"', etag.strip('"')))


class TestSize:
    def test_everything_together_is_under_sixty_kilobytes(self) -> None:
        served = [find("/"), *(find(f"/web/x/{name}") for name in ASSETS)]
        assert sum(len(file.body) for file in served) < BUDGET_BYTES


async def visit(path: str, **headers: str) -> RecordedResponse:
    page_request = request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return await call_endpoint(serve_static_file, page_request)


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
