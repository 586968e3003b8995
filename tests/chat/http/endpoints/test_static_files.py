"""Static files: which paths are served, their security headers and caching, the page's size, and the look of a chat."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.http_events import RecordedResponse, call_endpoint, request
from winterbourne.chat.errors import RequestRejected, SettingsError
from winterbourne.chat.http.endpoints import static_files
from winterbourne.chat.http.endpoints.static_files import FOLDER, PageOptions, StaticFile, StaticFiles
from winterbourne.override import override

BUDGET_BYTES = 88_000
ASSETS = {file.name for file in FOLDER.iterdir()} - {static_files.INDEX_HTML}
PAGE = StaticFiles(PageOptions())
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
PNG = b"\x89PNG\r\n\x1a\n"


def find(path: str, page: StaticFiles = PAGE) -> StaticFile:
    file = page.find(path)
    assert file is not None, path
    return file


def links(page: StaticFiles = PAGE) -> list[str]:
    """Every URL that the page links to."""
    return re.findall(r'(?:href|src)="([^"#]+)"', find("/", page).body.decode())


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
        assert PAGE.find(path) is None

    @given(st.text())
    def test_no_path_escapes_the_folder(self, text: str) -> None:
        for path in (text, f"/{text}", f"/web/{text}", f"/web/x/{text}"):
            file = PAGE.find(path)
            assert file is None or path == "/" or path.rpartition("/")[2] in ASSETS


class TestSecurity:
    @pytest.fixture(params=["/", "/web/x/app.js", "/web/x/style.css"])
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
        for file in FOLDER.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        (tmp_path / "turns.js").write_bytes(b"// changed")
        monkeypatch.setattr(static_files, "FOLDER", tmp_path)
        assert set(links()).isdisjoint(links(StaticFiles(PageOptions())))

    def test_a_change_of_any_option_changes_every_url(self, tmp_path: Path) -> None:
        logo, other_logo = tmp_path / "logo.svg", tmp_path / "other.svg"
        logo.write_bytes(SVG)
        other_logo.write_bytes(SVG + b"\n")
        faces: list[dict[str, Any]] = [
            {},
            {"title": "Harbour desk"},
            {"greeting": "Ahoy"},
            {"suggestions": ("When is high water?",)},
            {"accent": "#123"},
            {"accent": "#124"},
            {"logo": str(logo)},
            {"logo": str(other_logo)},
        ]
        urls = [set(links(StaticFiles(PageOptions(**face)))) for face in faces]
        assert len(set[str]().union(*urls)) == sum(map(len, urls))

    def test_a_file_of_a_kind_that_is_not_served_is_left_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in (static_files.INDEX_HTML, "app.js", ".DS_Store", "app.js.orig"):
            (tmp_path / name).write_bytes(b"x")
        monkeypatch.setattr(static_files, "FOLDER", tmp_path)
        page = StaticFiles(PageOptions())
        assert find("/web/x/app.js", page).body == b"x"
        assert page.find("/web/x/.DS_Store") is None
        assert page.find("/web/x/app.js.orig") is None

    def test_the_files_are_read_once_and_not_before_the_first_request(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(static_files, "FOLDER", Path("/nowhere"))
        logo = tmp_path / "logo.png"
        logo.write_bytes(b"not read yet")
        page = StaticFiles(PageOptions(logo=str(logo)))
        monkeypatch.undo()
        logo.write_bytes(PNG)
        assert find("/web/x/logo.png", page).body == PNG
        logo.unlink()
        monkeypatch.setattr(static_files, "FOLDER", Path("/nowhere"))
        assert find("/web/x/logo.png", page).body == PNG
        assert find("/web/x/app.js", page).body

    def test_a_matching_etag_means_not_modified(self) -> None:
        file = find("/")
        etag = file.headers["etag"]
        assert all(file.is_not_modified(header) for header in (etag, f"W/{etag}", f'"other", {etag}', "*"))
        assert not any(file.is_not_modified(header) for header in ("", '"other"', etag.strip('"')))


class TestSize:
    def test_everything_together_is_under_eighty_six_kilobytes(self) -> None:
        served = [find("/"), *(find(f"/web/x/{name}") for name in ASSETS)]
        assert sum(len(file.body) for file in served) < BUDGET_BYTES


class Reader(HTMLParser):
    """A page as a parser reads it: its elements and their texts."""

    def __init__(self, page: StaticFiles) -> None:
        super().__init__()
        self.elements: list[tuple[str, str]] = []  # its tag, with its class or id
        self.texts: list[str] = []
        self._is_inside = False
        self.feed(find("/", page).body.decode())
        self.close()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.elements.append((tag, named.get("class") or named.get("id") or ""))
        self.texts.append("")
        self._is_inside = True

    @override
    def handle_endtag(self, tag: str) -> None:
        self._is_inside = False

    @override
    def handle_data(self, data: str) -> None:
        if self._is_inside:
            self.texts[-1] += data

    def find(self, tag: str, name: str = "") -> list[str]:
        """The texts of these elements, up to the next tag."""
        return [text for element, text in zip(self.elements, self.texts, strict=True) if element == (tag, name)]

    @property
    def title(self) -> str:
        assert self.find("title") == self.find("h1")
        return self.find("title")[0]

    @property
    def greeting(self) -> list[str]:
        return self.find("h2", "hero-title") + self.find("p", "lede")

    @property
    def suggestions(self) -> list[str]:
        return self.find("button", "suggestion")


def text_up_to(length: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=length)


class TestFace:
    def test_without_options_it_is_neutral(self) -> None:
        page = Reader(PAGE)
        assert (page.title, page.greeting, page.suggestions) == ("Chat", ["How can I help?"], [])
        assert not {"ul", "li", "img"} & {tag for tag, _ in page.elements}
        assert not re.search(r"[{}]|winterbourne", find("/").body.decode(), re.IGNORECASE)

    @given(text_up_to(60), text_up_to(500), st.lists(text_up_to(200), max_size=6))
    def test_any_text_is_shown_as_it_is_and_adds_no_markup(
        self, title: str, greeting: str, suggestions: list[str]
    ) -> None:
        title, suggestions = f"{title[:59]}x", [f"{text[:199]}x" for text in suggestions]
        page = Reader(StaticFiles(PageOptions(title=title, greeting=greeting, suggestions=tuple(suggestions))))
        assert (page.title, page.suggestions) == (title, suggestions)
        assert "".join("".join(page.greeting).split()) == "".join((greeting.strip() or "How can I help?").split())
        added = Counter(page.elements) - Counter(Reader(PAGE).elements)
        suggestion = {("li", ""): len(suggestions), ("button", "suggestion"): len(suggestions)}
        assert added == Counter({("p", "lede"): len(page.greeting) - 1, ("ul", ""): bool(suggestions), **suggestion})

    @pytest.mark.parametrize(
        "markup", ['<script src="web/app.js">', "</title>", '" onload="x', "{title}", "%s", "&lt;", "<!--", "'\"`"]
    )
    def test_markup_in_a_text_is_text(self, markup: str) -> None:
        page = Reader(StaticFiles(PageOptions(title=markup, greeting=f"{markup}\n\n{markup}", suggestions=(markup,))))
        assert (page.title, page.greeting, page.suggestions) == (markup, [markup, markup], [markup])
        assert len(page.find("script")) == 1

    @pytest.mark.parametrize("blank", ["\n\n", "\n  \n", "\r\n\r\n", "\n\n\n"])
    def test_what_follows_a_blank_line_of_the_greeting_is_a_paragraph(self, blank: str) -> None:
        page = Reader(StaticFiles(PageOptions(greeting=f"Ahoy,\nsailor!{blank}Tides\n\nand berths.\n\n")))
        assert page.greeting == ["Ahoy,\nsailor!", "Tides\n\nand berths."]

    def test_text_that_utf_8_cannot_say_is_replaced(self) -> None:
        assert Reader(StaticFiles(PageOptions(title="A \ud800 in it"))).title == "A ? in it"

    @pytest.mark.parametrize(("name", "body", "type_"), [("a.svg", SVG, "image/svg+xml"), ("b.PNG", PNG, "image/png")])
    def test_a_logo_is_the_icon_too_and_served_like_any_other_file(
        self, tmp_path: Path, name: str, body: bytes, type_: str
    ) -> None:
        (tmp_path / name).write_bytes(body)
        page = StaticFiles(PageOptions(logo=str(tmp_path / name)))
        icon, image = (link for link in links(page) if "/logo." in link)
        assert icon == image
        logo = find(f"/{icon}", page)
        assert (logo.body, logo.headers["content-type"]) == (body, type_)
        assert logo.headers["content-security-policy"] == static_files.PICTURE_POLICY
        assert "script-src" not in static_files.PICTURE_POLICY, "default-src 'none' forbids every script"
        assert logo.headers.keys() >= static_files.SECURITY_HEADERS.keys()
        assert logo.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert Reader(page).elements.count(("img", "logo")) == 1

    def test_an_accent_colour_follows_the_styles(self) -> None:
        plain = find("/web/x/style.css").body
        accented = find("/web/x/style.css", StaticFiles(PageOptions(accent="#fc0"))).body
        assert accented.startswith(plain)
        assert set(re.findall(rb"--\w+(?=:)", accented[len(plain) :])) == {b"--water", b"--bright", b"--wash"}
        assert set(re.findall(rb"#\w+", accented[len(plain) :])) == {b"#fc0"}

    async def test_two_chats_of_one_process_have_two_faces(self) -> None:
        one, two = (
            StaticFiles(PageOptions(title=title, accent=accent)) for title, accent in (("A", ""), ("B", "#f00"))
        )
        assert [Reader(page).title for page in (one, two, one)] == ["A", "B", "A"]
        assert b"#f00" in find("/web/x/style.css", two).body
        assert b"#f00" not in find("/web/x/style.css", one).body


class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [
            {"title": "x" * 60},
            {"greeting": "x" * 500},
            {"suggestions": ("x" * 200,) * 6},
            {"suggestions": ["a list"]},
            {"accent": "#aBc"},
            {"accent": "#00ff7F"},
        ],
    )
    def test_all_that_fits_is_taken(self, options: dict[str, Any]) -> None:
        page = PageOptions(**options)
        assert {name: getattr(page, name) for name in options} == options

    @pytest.mark.parametrize(
        "options",
        [
            {"title": ""},
            {"title": " \n"},
            {"title": "x" * 61},
            {"greeting": "x" * 501},
            {"suggestions": ("x",) * 7},
            {"suggestions": ("x" * 201,)},
            {"suggestions": ("",)},
            {"suggestions": ("x", " ")},
            {"suggestions": "text"},
            {"accent": "red"},
            {"accent": "#12"},
            {"accent": "#1234"},
            {"accent": "#12345"},
            {"accent": "#123456\n"},
            {"accent": "#00f;}*{display:none"},
            {"accent": "x#123"},
        ],
    )
    def test_a_wrong_value_is_an_error_that_names_the_argument(self, options: dict[str, Any]) -> None:
        with pytest.raises(SettingsError, match=rf"^{next(iter(options))}: expected [^;]*$"):
            PageOptions(**options)

    def test_a_logo_is_an_svg_or_png_file_of_at_most_100_kb(self, tmp_path: Path) -> None:
        for name, size in (("fits.svg", 100_000), ("large.png", 100_001), ("photo.jpg", 9), ("svg", 9)):
            (tmp_path / name).write_bytes(bytes(size))
        (tmp_path / "folder.svg").mkdir()
        assert PageOptions(logo=str(tmp_path / "fits.svg")).logo.endswith("/fits.svg")
        for name in ("large.png", "photo.jpg", "svg", "folder.svg", "missing.svg", ""):
            with pytest.raises(SettingsError, match=r"^logo: expected an \.svg or \.png file"):
                PageOptions(logo=str(tmp_path / name))

    def test_every_wrong_value_is_named_at_once(self) -> None:
        with pytest.raises(SettingsError, match=r"^title: .*; accent: "):
            PageOptions(title="", accent="red")


async def visit(path: str, **headers: str) -> RecordedResponse:
    page_request = request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return await call_endpoint(PAGE.serve, page_request)


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
