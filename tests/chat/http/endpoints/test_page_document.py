"""The chat page as a document: how it is put together, what it says of a chat, and its size."""

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne.chat.auth.sign_in import SignIn
from winterbourne.chat.http.endpoints import page_document
from winterbourne.chat.http.endpoints.page_config import page_config
from winterbourne.chat.http.endpoints.page_document import FOLDER, PageDocument, choose_language, make_document
from winterbourne.chat.http.endpoints.page_options import PageOptions
from winterbourne.chat.http.endpoints.static_files import accepted
from winterbourne.chat.providers.scripted import ScriptedProvider
from winterbourne.chat.settings import Settings
from winterbourne.override import override

BUDGET_BYTES = 100_000
SIGN_IN = SignIn("https://login.example/authorize", "https://tokens.example/token", "", "page", "openid", "chat")
SIGNING_IN = {"auth": "jwt", "signIn": SIGN_IN}


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
    def test_comments_and_indentation_are_left_out(self) -> None:
        assert not re.search(r"^\s*//|^[ \t]|\n\n", plain().script, re.MULTILINE)
        assert not re.search(r"/\*|\n", plain().style)

    def test_the_styles_are_in_it_in_the_order_of_their_names(self, folder: Path) -> None:
        (folder / "styles" / "99_last.css").write_text("/* Last. */\nb,\ni { margin: 0; }\n")
        (folder / "styles" / "00_first.css").write_text("a { margin: 0; }\n")
        style = plain().style
        assert style.startswith("a{margin:0}")
        assert style.endswith("b,i{margin:0}")

    def test_the_scripts_are_told_the_config_and_their_words(self) -> None:
        html = make_document(PageOptions(), {"auth": "</script><!--"}).html.decode()
        [text] = re.findall(r'<script type="application/json" id=config>(.*?)</script>', html)
        assert "<" not in text
        told, strings = json.loads(text), json.loads((FOLDER / "strings" / "en.json").read_text())
        assert told["auth"] == "</script><!--"
        assert told["strings"].keys() == strings.keys()
        assert all(words.items() <= strings[section].items() for section, words in told["strings"].items())

    def test_every_word_that_a_script_names_is_told(self, folder: Path) -> None:
        strings = json.loads((folder / "strings" / "en.json").read_text())
        strings["colours"] = {"red": "Red", "blue": "Blue"}
        strings["sizes"] = {"small": "Small", "large": "Large"}
        strings["winds"] = {"east": "East", "west": "West"}
        (folder / "strings" / "en.json").write_text(json.dumps(strings))
        script = folder / "app.js"
        script.write_text(
            f"{script.read_text()}\nt(`colours.${{x}}`); t(y && `sizes.large`); config.strings.winds[x];\n"
        )
        [text] = re.findall(r"id=config>(.*?)</script>", make_document(PageOptions(), {}).html.decode())
        told = json.loads(text)["strings"]
        assert (told["colours"], told["winds"]) == (strings["colours"], strings["winds"])
        assert told["sizes"] == {"large": "Large"}

    def test_every_word_of_the_page_is_in_its_strings(self) -> None:
        strings = json.loads((FOLDER / "strings" / "en.json").read_text())
        scripts = "".join(path.read_text() for path in FOLDER.glob("*.js"))
        for section, key in re.findall(r'\bt\("(\w+)\.(\w+)"', scripts):
            assert key in strings[section]

    @pytest.mark.parametrize(
        ("deployed", "is_durable"),
        [
            ({"auth": "none"}, True),
            ({"auth": "none"}, False),
            ({"auth": "api_key"}, True),
            ({"auth": "api_key"}, False),
            (SIGNING_IN, True),
            (SIGNING_IN, False),
        ],
        ids=str,
    )
    def test_it_is_under_a_hundred_kilobytes_however_it_is_deployed(
        self, deployed: dict[str, Any], *, is_durable: bool
    ) -> None:
        config = {**page_config(Settings(), ScriptedProvider(), is_durable=is_durable), **deployed}
        assert len(make_document(PageOptions(), config).html) < BUDGET_BYTES, "without the chat's own words"

    @pytest.mark.parametrize(
        ("config", "way_in"),
        [
            ({"auth": "api_key"}, {"key"}),
            ({"auth": "own"}, {"key"}),
            (SIGNING_IN, {"sign_in"}),
            ({"auth": "jwt", "signIn": None}, set()),
            ({"auth": "jwt"}, set()),
            ({"auth": "iam"}, set()),
            ({"auth": "none"}, set()),
        ],
    )
    def test_it_has_the_one_way_in_that_the_deployment_knows(self, config: dict[str, object], way_in: set[str]) -> None:
        script = make_document(PageOptions(), config).script
        stored = {"key": "winterbourne.key", "sign_in": "winterbourne.tokens"}
        assert {name for name, text in stored.items() if text in script} == way_in


def text_up_to(length: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=length)


class TestFace:
    def test_without_options_it_is_neutral(self) -> None:
        assert (PAGE.title, PAGE.greeting, PAGE.suggestions) == ("Chat", ["How can I help?"], [])
        assert not {"li", "img", "footer"} & {tag for tag, _ in PAGE.elements}
        others = re.sub(r"winterbourne\\?\.(key|model|draft|file)", "", PAGE.html)
        assert not re.search("winterbourne", others, re.IGNORECASE)

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

    def test_an_accent_colour_and_styles_follow_the_styles(self) -> None:
        style = plain().style
        own = {"--ink": "light-dark(#000, #fff)", "--serif": "Georgia, serif"}
        worn = make_document(PageOptions(accent="#b3261e", styles=own), {}).style
        assert worn.startswith(style)
        added = dict(re.findall(r"(--\w+):([^;}]+)", worn[len(style) :]))
        assert added.keys() == {"--ink", "--serif", "--water", "--bright", "--wash"}
        assert (added["--ink"], added["--serif"]) == ("light-dark(#000000,#ffffff)", "Georgia,serif")
        assert added["--water"].startswith("light-dark(#b3261e,")

    def test_two_chats_of_one_process_have_two_faces(self) -> None:
        one, two = (PageOptions(title=title, accent=accent) for title, accent in (("A", ""), ("B", "#a0281e")))
        assert [Reader(options).title for options in (one, two, one)] == ["A", "B", "A"]
        assert "#a0281e" in make_document(two, {}).style
        assert "#a0281e" not in make_document(one, {}).style

    def test_a_footer_is_text_with_at_most_one_link(self) -> None:
        page = Reader(PageOptions(footer="<b> & [terms <i>](https://example.com/?a=1&b='2'), {title}"))
        assert page.find("footer") == ["<b> & "]
        assert page.find("a") == ["terms <i>"]
        assert "https://example.com/?a=1&b='2'" in [each.get("href") for each in page.attributes]
        assert "</a>, {title}</footer>" in page.html
        assert not Reader(PageOptions(footer="Be kind.")).find("a")
        assert not PAGE.find("footer")

    def test_suggestions_of_tools_are_to_be_completed(self) -> None:
        page = Reader(PageOptions(suggestions=("Get the weather",), are_filled=True))
        assert page.suggestions == ["Get the weather"]
        assert page.html.count("data-fill>") == 1
        assert "data-fill>" not in Reader(PageOptions(suggestions=("Get the weather",))).html


class TestLanguages:
    @pytest.fixture(autouse=True)
    def german_and_brazilian(self, folder: Path) -> None:
        german = {"page": {"greeting": "Was darf es sein?"}, "composer": {"label": "Ihre Frage"}}
        for name, strings in (("de", german), ("pt-BR", {}), ("ar", {})):
            (folder / "strings" / f"{name}.json").write_text(json.dumps(strings))

    @pytest.mark.parametrize(
        ("wanted", "language"),
        [
            ("", "en"),
            ("de", "de"),
            ("DE-at", "de"),
            ("de-Latn-DE, en;q=0.5", "de"),
            ("en-GB, de", "en"),
            ("en;q=0.4, de;q=0.7", "de"),
            ("fr, de;q=0.3", "de"),
            ("de;q=0, fr", "en"),
            ("pt", "pt-BR"),
            ("pt-PT", "pt-BR"),
            ("*", "en"),
            ("d, deu, ../de, ;;,,", "en"),
        ],
    )
    def test_the_page_is_in_the_language_that_is_wanted_most(self, wanted: str, language: str) -> None:
        assert choose_language(accepted(wanted)) == language

    def test_a_translation_is_one_more_file_and_what_it_lacks_is_english(self) -> None:
        html = make_document(PageOptions(), {}, language="de").html.decode()
        assert '<html lang="de" data' in html
        assert "Was darf es sein?" in html
        assert "Ihre Frage" in html
        assert 'aria-label="New conversation"' in html
        [told] = re.findall(r"id=config>(.*?)</script>", html)
        assert json.loads(told)["strings"]["answer"]["copied"] == "Copied"

    def test_a_language_that_is_written_from_the_right_is_laid_out_so(self) -> None:
        assert '<html lang="ar" dir="rtl" ' in make_document(PageOptions(), {}, language="ar").html.decode()


@pytest.mark.parametrize("path", sorted((FOLDER / "strings").iterdir()), ids=lambda path: path.name)
def test_a_translation_has_the_same_strings_with_the_same_values_in_them(path: Path) -> None:
    """So that none is left over after a change, and none shows a brace."""
    english, own = (json.loads(each.read_text()) for each in (FOLDER / "strings" / "en.json", path))
    for section, words in own.items():
        for name, text in words.items():
            assert values_in(text) == values_in(english[section][name]), f"{section}.{name}"


def values_in(text: str | dict[str, str]) -> set[str]:
    assert isinstance(text, str) or "other" in text
    return set(re.findall(r"\{(\w+)\}", text if isinstance(text, str) else text["other"]))
