"""Promises of the page's files: what is served, under which rules, and how little it is."""

import re
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.http_events import FakeLambdaContext, RecordedResponse, request
from winterbourne import ResponseStream
from winterbourne.chat.auth.base import ANONYMOUS
from winterbourne.chat.errors import RequestRejected
from winterbourne.chat.http.endpoints import static_files as page
from winterbourne.chat.http.endpoints.static_files import FOLDER, StaticFile, serve_static_file
from winterbourne.chat.http.service import RequestContext

BUDGET_BYTES = 60_000


def asked(path: str) -> StaticFile:
    file = page.find_static_file(path)
    assert file is not None, path
    return file


def links() -> list[str]:
    """Every address that the page itself names."""
    return re.findall(r'(?:href|src)="([^"#]+)"', asked("/").body.decode())


class TestTheTable:
    def test_the_page_is_at_the_root(self) -> None:
        assert asked("/").content_type == "text/html; charset=utf-8"
        assert asked("/").body.startswith(b"<!doctype html>")

    def test_every_file_the_page_names_is_there(self) -> None:
        assert links()
        for link in links():
            asked(f"/{link}")

    def test_every_module_is_fetched_beside_the_others_and_not_one_after_another(self) -> None:
        named = {link.rpartition("/")[2] for link in links()}
        assert named == set(page.ASSETS)

    def test_every_file_of_the_folder_is_served(self) -> None:
        assert {file.name for file in FOLDER.iterdir()} == {page.INDEX_HTML, *page.ASSETS}

    def test_each_file_has_its_own_type(self) -> None:
        types = {link.rpartition(".")[2]: asked(f"/{link}").content_type for link in links()}
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
    def test_nothing_else_is(self, path: str) -> None:
        assert page.find_static_file(path) is None

    @given(st.text())
    def test_no_path_leads_out_of_the_table(self, text: str) -> None:
        for path in (text, f"/{text}", f"/web/{text}", f"/web/x/{text}"):
            file = page.find_static_file(path)
            assert file is None or path == "/" or path.rpartition("/")[2] in page.ASSETS


class TestTheRules:
    @pytest.fixture(params=["/", "/web/x/app.js", "/web/x/style.css", "/web/x/icon.svg"])
    def file(self, request: pytest.FixtureRequest) -> StaticFile:
        return asked(request.param)

    def test_everything_comes_from_here(self, file: StaticFile) -> None:
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

    def test_no_type_is_guessed_and_no_address_is_told(self, file: StaticFile) -> None:
        assert file.headers["x-content-type-options"] == "nosniff"
        assert file.headers["referrer-policy"] == "no-referrer"

    def test_no_file_names_an_address_elsewhere(self) -> None:
        # Names of XML namespaces and pages of documentation are read by people and never fetched.
        known = (b"http://www.w3.org/", b"https://html.spec.whatwg.org/", b"https://docs.aws.amazon.com/")
        for path in FOLDER.iterdir():
            found = re.findall(rb"(?:https?:)?//\w[\w.-]*\.\w+[^\s\"')]*", path.read_bytes())
            assert [address for address in found if not address.startswith(known)] == []

    def test_no_script_and_no_style_stands_in_the_page(self) -> None:
        html = asked("/").body.decode()
        assert re.findall(r"<script(?![^>]*src=)|<style| style=| on\w+=", html) == []

    def test_no_script_makes_nodes_from_strings(self) -> None:
        scripts = "".join(path.read_text() for path in FOLDER.glob("*.js"))
        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", scripts) == []


class TestCaching:
    def test_the_page_is_asked_for_again_and_its_files_are_kept(self) -> None:
        assert asked("/").headers["cache-control"] == "no-cache"
        for link in links():
            assert asked(f"/{link}").headers["cache-control"] == "public, max-age=31536000, immutable"

    def test_a_file_of_another_version_is_todays_and_not_kept(self) -> None:
        old = asked("/web/0123456789abcdef/app.js")
        assert old.body == (FOLDER / "app.js").read_bytes()
        assert old.headers["cache-control"] == "no-cache"

    def test_a_change_of_any_file_changes_every_address(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = links()
        for file in FOLDER.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        (tmp_path / "turns.js").write_bytes(b"// changed")
        monkeypatch.setattr(page, "FOLDER", tmp_path)
        caches = (page._contents, page._version, page._static_files)
        try:
            for cached in caches:
                cached.cache_clear()
            assert set(before).isdisjoint(links())
        finally:
            for cached in caches:
                cached.cache_clear()

    def test_the_files_are_read_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked("/")
        monkeypatch.setattr(page, "FOLDER", Path("/nowhere"))
        assert asked("/web/x/app.js").body

    def test_who_has_the_file_is_not_sent_it_again(self) -> None:
        file = asked("/")
        etag = file.headers["etag"]
        assert all(file.is_not_modified(header) for header in (etag, f"W/{etag}", f'"other", {etag}', "*"))
        assert not any(file.is_not_modified(header) for header in ("", '"other"', etag.strip('"')))


class TestTheBudget:
    def test_everything_together_is_under_sixty_kilobytes(self) -> None:
        served = [asked("/"), *(asked(f"/web/x/{name}") for name in page.ASSETS)]
        assert sum(len(file.body) for file in served) < BUDGET_BYTES


async def visit(path: str, **headers: str) -> RecordedResponse:
    answered = RecordedResponse()
    asked = request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    stream = cast("ResponseStream", answered)
    await serve_static_file(
        RequestContext(
            request=asked, caller=ANONYMOUS, path_params={}, stream=stream, lambda_context=FakeLambdaContext()
        )
    )
    return answered


async def test_the_page_comes_with_its_type_and_its_rules() -> None:
    answered = await visit("/")
    assert (answered.status, answered.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "content-security-policy" in answered.headers
    assert answered.body.startswith(b"<!doctype html>")


async def test_a_browser_that_has_it_gets_no_body() -> None:
    etag = (await visit("/")).headers["etag"]
    answered = await visit("/", if_none_match=etag)
    assert (answered.status, answered.body, answered.headers["etag"]) == (304, b"", etag)


async def test_what_is_not_of_the_page_is_not_found() -> None:
    with pytest.raises(RequestRejected) as refusal:
        await visit("/web/x/settings.py")
    assert refusal.value.status == 404
