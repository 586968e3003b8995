"""`docs/reference`: the pages that are made from the code are as the code is now, whole, and fit to be linked to."""

import re
from collections import Counter

import pytest

import winterbourne
from tests.reference import commands, markdown, python_api, settings
from tests.reference.pages import FOLDER, PAGES
from tests.stack import ROOT
from winterbourne import chat
from winterbourne.chat.settings import VARIABLES
from winterbourne.local import cli, testing

TEXTS = {name: (FOLDER / name).read_text("utf-8") for name in PAGES}
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def headings(page: str) -> list[str]:
    return re.findall(r"^#+ (.*)$", FENCE.sub("", page), re.MULTILINE)


def anchors(page: str) -> set[str]:
    return {markdown.anchor(heading) for heading in headings(page)}


@pytest.mark.parametrize("name", PAGES)
class TestEachPage:
    def test_is_as_the_code_is(self, name: str) -> None:
        assert TEXTS[name] == PAGES[name](), "run `make reference`"

    def test_says_in_its_first_sentences_what_it_is_and_how_it_is_made(self, name: str) -> None:
        assert re.match(r"# [\w ]+\n\n[A-Z][^\n]+\.\sWritten by `make reference`\.\n", TEXTS[name])

    def test_has_every_heading_once(self, name: str) -> None:
        counts = Counter(map(markdown.anchor, headings(TEXTS[name])))
        assert [heading for heading, count in counts.items() if count > 1] == []

    def test_links_to_headings_that_are_there(self, name: str) -> None:
        links = re.findall(r"\]\(([\w.-]*)(#[^)]*)\)", FENCE.sub("", TEXTS[name]))
        assert links
        assert [link for link in links if link[1] not in anchors(TEXTS[link[0] or name])] == []

    def test_shows_neither_objects_nor_private_names(self, name: str) -> None:
        assert re.findall(r"<function|<class|<bound| at 0x|object at|<!--", TEXTS[name]) == []
        assert re.findall(r"`[^`\n]*(?<![\w`])_[a-z]\w*", TEXTS[name]) == []
        assert [code for code in FENCE.findall(TEXTS[name]) if re.search(r"(?<![\w.])_\w", code)] == []


class TestSettings:
    def test_each_has_a_heading_to_link_to(self) -> None:
        assert {f"`{name}`" for name in VARIABLES} <= set(headings(TEXTS["settings.md"]))

    def test_each_variable_that_the_source_reads_is_there_or_lambdas_own(self) -> None:
        read = settings.variables_read()
        assert read >= settings.INTERNAL
        assert [name for name in read - settings.INTERNAL if f"`{name}`" not in TEXTS["settings.md"]] == []

    def test_the_worker_reads_those_of_the_groups_that_are_named(self) -> None:
        """MCP servers are not its own: nothing but `app.py` connects to them."""
        files = ("worker.py", "process_setup.py", "tool_runtime/discovery.py")
        engine = ROOT / "layers/winterbourne/python/winterbourne/chat"
        groups = set(re.findall(r"settings\.(\w+)\b(?!\()", "".join((engine / name).read_text() for name in files)))
        named = re.search(r"only\s+those\s+of (.*?)\s+mean", TEXTS["settings.md"], re.DOTALL)
        assert named
        titles = re.findall(r"\]\(#(\w+)\)", named[1])
        assert titles == [settings.GROUPS[group].lower() for group in settings.GROUPS if group in groups]


class TestPythonApi:
    def test_every_public_name_is_there_with_what_it_promises(self) -> None:
        public = {*winterbourne.__all__, *chat.__all__, *testing.__all__} - {"__version__"}
        shown = [name for topic in python_api.TOPICS for name in python_api.public_names(topic)]
        assert public - set(shown) == set(), "each public name is in one of TOPICS of tests/reference/python_api.py"
        assert [name for name in shown if not re.search(rf"`{name}\b", TEXTS["python-api.md"])] == []

    def test_each_name_has_a_description(self) -> None:
        page = TEXTS["python-api.md"]
        rows = re.findall(r"^\| (`[^`]*`) \|(?:.*\|)? +\|$", page, re.MULTILINE)
        bare = re.findall(r"^#+ (`.*`)\n\n(?:```python\n(?:.*\n)*?```\n\n)?(?=#|$)", page, re.MULTILINE)
        assert rows + bare == []

    @pytest.mark.parametrize("name", python_api.OPTIONS_OF)
    def test_each_option_of_a_tool_is_described(self, name: str) -> None:
        entry = re.split(rf"^### `{name}`$", TEXTS["python-api.md"], flags=re.MULTILINE)[1].split("\n### ")[0]
        fields = python_api.OPTIONS_OF[name].__struct_fields__
        assert [field for field in fields if f"`{field}: " not in entry] == [], (
            "described under Attributes of the struct"
        )

    def test_names_are_imported_from_where_it_says(self) -> None:
        for topic in python_api.TOPICS:
            module = __import__(topic.module, fromlist=["_"])
            assert [name for name in python_api.public_names(topic) if not hasattr(module, name)] == []


class TestCommands:
    @pytest.mark.parametrize("command", cli.COMMANDS)
    def test_each_option_is_described(self, command: str) -> None:
        actions = [each for each in commands.parser_of(command)._actions if each.dest != "help"]
        assert actions
        assert [each.dest for each in actions if not each.help] == []
        page = TEXTS["commands.md"]
        assert [each for each in actions for option in each.option_strings if f"| `{option}" not in page] == []

    def test_each_variable_of_the_makefiles_is_described(self) -> None:
        text = "".join((ROOT / name).read_text() for name in ("Makefile", "development.mk"))
        given = set(re.findall(r"^([A-Z_]+) \?=", text, re.MULTILINE)) | set(re.findall(r"\$\(([A-Z_]+)\)", text))
        assert given - {"MAKE", "MAKECMDGOALS", "MAKEFILE_LIST", "CURDIR"} <= commands.VARIABLES.keys()
