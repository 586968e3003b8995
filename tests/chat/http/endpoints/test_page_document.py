"""The chat page as a document: how it is put together, what it says of a chat, and its size."""

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.http.endpoints import page_document
from winterbourne.chat.http.endpoints.page_document import FOLDER, PageDocument, make_document
from winterbourne.chat.http.endpoints.page_options import PageOptions
from winterbourne.override import override

BUDGET_BYTES = 100_000


class Reader(HTMLParser):
    """A page as a parser reads it: its elements and their texts."""

    def __init__(self, options: PageOptions | None = None, logo_url: str = "") -> None:
        super().__init__()
        self.elements: list[tuple[str, str]] = []  # its tag, with its class or id
        self.texts: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self._is_inside = False
        self.html = make_document(options or PageOptions(), {}, logo_url).html.decode()
        self.feed(self.html)
        self.close()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.elements.append((tag, named.get("class") or named.get("id") or ""))
        self.texts.append("")
        self.attributes.append(named)
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


PAGE = Reader()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the page's folder, of which the page is then made."""
    monkeypatch.setattr(page_document, "FOLDER", Path(shutil.copytree(FOLDER, tmp_path / "page")))
    return tmp_path / "page"


def plain() -> PageDocument:
    return make_document(PageOptions(), {})


class TestParts:
    def test_every_module_is_in_it_once_after_those_that_it_imports(self) -> None:
        modules = re.findall(r"\bconst (\w+)_js=\(", plain().script)
        assert sorted(modules) == sorted({path.stem for path in FOLDER.glob("*.js")})
        for name in modules:
            imported = re.findall(r'from "\./(\w+)\.js"', (FOLDER / f"{name}.js").read_text())
            assert all(modules.index(each) < modules.index(name) for each in imported)

    def test_every_export_of_a_module_is_one_of_its_function(self) -> None:
        script = plain().script
        for path in FOLDER.glob("*.js"):
            names = re.findall(
                r"^export (?:async )?(?:function\*?|class|const|let) (\w+)", path.read_text(), re.MULTILINE
            )
            assert len(re.findall("^export ", path.read_text(), re.MULTILINE)) == len(names), path.name
            assert f"return{{{','.join(names)}}};" in script
        assert not re.search(r"(?:^|[;}])(import|export) ", script, re.MULTILINE)

    def test_comments_and_indentation_are_left_out(self) -> None:
        assert not re.search(r"^\s*//|^[ \t]|\n\n", plain().script, re.MULTILINE)
        assert not re.search(r"/\*|\n", plain().style)

    def test_spaces_that_say_something_stay(self, folder: Path) -> None:
        lines = (
            'const said = "a = { b: 1 }"; // no more',
            "const asked = `${said} ? : ${ 2 }`;",
            "const found = / = ;/.exec(said) ? said : '\" , ';",
            "const sum = 1 - -1 + +1;",
        )
        (folder / "app.js").write_text("\n".join(lines))
        kept = 'said="a = { b: 1 }"', lines[1], lines[2], "sum=1 - -1 + +1;"
        assert all(text in plain().script for text in kept)

    def test_the_styles_are_in_it_in_the_order_of_their_names(self, folder: Path) -> None:
        (folder / "styles" / "99_last.css").write_text("/* Last. */\nb,\ni { margin: 0; }\n")
        (folder / "styles" / "00_first.css").write_text("a { margin: 0; }\n")
        style = plain().style
        assert style.startswith("a{margin:0}")
        assert style.endswith("b,i{margin:0}")

    def test_the_scripts_are_told_the_config_and_the_words_of_the_page(self) -> None:
        html = make_document(PageOptions(), {"auth": "</script><!--"}).html.decode()
        [told] = re.findall(r'<script type="application/json" id="config">(.*?)</script>', html)
        assert "<" not in told
        strings = json.loads((FOLDER / "strings" / "en.json").read_text())
        assert json.loads(told) == {"auth": "</script><!--", "strings": strings}

    def test_every_word_of_the_page_is_in_its_strings(self) -> None:
        strings = json.loads((FOLDER / "strings" / "en.json").read_text())
        scripts = "".join(path.read_text() for path in FOLDER.glob("*.js"))
        for section, key in re.findall(r'\bt\("(\w+)\.(\w+)"', scripts):
            assert key in strings[section]

    def test_it_is_under_a_hundred_kilobytes(self) -> None:
        assert len(plain().html) < BUDGET_BYTES
        face = PageOptions(title="x" * 60, greeting="x" * 500, suggestions=("x" * 200,) * 6, accent="#123456")
        assert len(make_document(face, {}).html) < BUDGET_BYTES


def text_up_to(length: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=length)


class TestFace:
    def test_without_options_it_is_neutral(self) -> None:
        assert (PAGE.title, PAGE.greeting, PAGE.suggestions) == ("Chat", ["How can I help?"], [])
        assert not {"ul", "li", "img"} & {tag for tag, _ in PAGE.elements}
        assert not re.search(r"winterbourne", re.sub("winterbourne.key", "", PAGE.html), re.IGNORECASE)

    @given(text_up_to(60), text_up_to(500), st.lists(text_up_to(200), max_size=6))
    def test_any_text_is_shown_as_it_is_and_adds_no_markup(
        self, title: str, greeting: str, suggestions: list[str]
    ) -> None:
        title, suggestions = f"{title[:59]}x", [f"{text[:199]}x" for text in suggestions]
        page = Reader(PageOptions(title=title, greeting=greeting, suggestions=tuple(suggestions)))
        assert (page.title, page.suggestions) == (title, suggestions)
        assert "".join("".join(page.greeting).split()) == "".join((greeting.strip() or "How can I help?").split())
        added = Counter(page.elements) - Counter(PAGE.elements)
        suggestion = {("li", ""): len(suggestions), ("button", "suggestion"): len(suggestions)}
        assert added == Counter({("p", "lede"): len(page.greeting) - 1, ("ul", ""): bool(suggestions), **suggestion})

    @pytest.mark.parametrize(
        "markup", ['<script src="web/app.js">', "</title>", '" onload="x', "{title}", "%s", "&lt;", "<!--", "'\"`"]
    )
    def test_markup_in_a_text_is_text(self, markup: str) -> None:
        page = Reader(PageOptions(title=markup, greeting=f"{markup}\n\n{markup}", suggestions=(markup,)))
        assert (page.title, page.greeting, page.suggestions) == (markup, [markup, markup], [markup])
        assert Counter(page.elements)["script", ""] == Counter(PAGE.elements)["script", ""]

    @pytest.mark.parametrize("blank", ["\n\n", "\n  \n", "\r\n\r\n", "\n\n\n"])
    def test_what_follows_a_blank_line_of_the_greeting_is_a_paragraph(self, blank: str) -> None:
        page = Reader(PageOptions(greeting=f"Ahoy,\nsailor!{blank}Tides\n\nand berths.\n\n"))
        assert page.greeting == ["Ahoy,\nsailor!", "Tides\n\nand berths."]

    def test_text_that_utf_8_cannot_say_is_replaced(self) -> None:
        assert Reader(PageOptions(title="A \ud800 in it")).title == "A ? in it"

    def test_a_logo_is_the_icon_too(self) -> None:
        page = Reader(logo_url="web/x/logo.svg")
        assert page.html.count('"web/x/logo.svg"') == 2
        assert page.elements.count(("img", "logo")) == 1

    def test_an_accent_colour_follows_the_styles(self) -> None:
        style, accented = plain().style, make_document(PageOptions(accent="#fc0"), {}).style
        assert accented.startswith(style)
        assert set(re.findall(r"--\w+(?=:)", accented[len(style) :])) == {"--water", "--bright", "--wash"}
        assert set(re.findall(r"#\w+", accented[len(style) :])) == {"#fc0"}

    def test_two_chats_of_one_process_have_two_faces(self) -> None:
        one, two = (PageOptions(title=title, accent=accent) for title, accent in (("A", ""), ("B", "#f00")))
        assert [Reader(options).title for options in (one, two, one)] == ["A", "B", "A"]
        assert "#f00" in make_document(two, {}).style
        assert "#f00" not in make_document(one, {}).style
