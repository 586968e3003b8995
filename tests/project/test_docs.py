"""Every page: its links lead somewhere, its names exist, its numbers are the code's, its code can be read."""

import ast
import importlib.util
import inspect
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]  # it ships no types

from tests import npm
from tests.doc_pages import (
    GENERATED,
    PAGES,
    ROOT,
    Block,
    anchors,
    blocks,
    commands,
    inline_code,
    links,
    read,
    unreadable,
)
from tests.reference.commands import VARIABLES as MAKE_VARIABLES
from tests.stack import Stack, source, template_of
from winterbourne.chat import Chat, ToolWorker
from winterbourne.chat.providers import anthropic, bedrock, openai
from winterbourne.chat.settings import VARIABLES, Settings
from winterbourne.chat.tool_runtime.declaration import ToolOptions
from winterbourne.local.chat_settings import named_variables
from winterbourne.local.cli import COMMANDS
from winterbourne.local.new import DOORS

BLOCKS: Final = [block for page in PAGES for block in blocks(page)]
LANGUAGES: Final = {
    "sh",
    "python",
    "js",
    "jsx",
    "tsx",
    "html",
    "yaml",
    "toml",
    "json",
    "text",
    "markdown",
    "dockerfile",
}
PARAMETERS: Final = {n: p for door in DOORS for n, p in source(template_of(door))["Parameters"].items()}
"""Of the templates of all doors."""

# Variables that are no settings of the chat engine.
OTHER_VARIABLES: Final = re.compile(
    r"AWS_.*|SSL_CERT_(DIR|FILE)|WINTERBOURNE_.*|SETTINGS|\w+_KEY(_SECRET_ARN)?|NAME_SECRET_ARN|PYTEST_ARGS|SHOP_URL|PIER_URL|GATEWAY_SECRET|KEY|STAGE|PARAMETERS|ARGS|PORT"
    r"|PYTHON|PYTHONPATH|EVENT|STACK|REGION|ORIGIN|UPGRADE|PATH|HOME|XDG_STATE_HOME|URL|POST|GET|PUT|DELETE|HEAD|OPTIONS|WHEEL|MODEL"
)
# What is written in capitals and is no variable: events of AG-UI, reasons of providers, log levels.
OTHER_CAPITALS: Final = re.compile(
    r"RUN_STARTED|RUN_FINISHED|MESSAGES_SNAPSHOT|RESPONSE_STREAM|AWS_IAM|PROHIBITED_CONTENT"
)


# Names of commands, which nobody types as they stand.
NAMES_OF_PROGRAMS: Final = {"curl -N", "sam build", "sam delete", "sam local", "sam local invoke"}
PAGES_OF_A_PROJECT: Final = {
    "docs/tutorial.md",
    "docs/architecture.md",
}  # the latter has files as they were named before
SETTINGS: Final = {name.lower() for name in VARIABLES}
ARGUMENTS: Final = {
    "Chat": SETTINGS | inspect.signature(Chat).parameters.keys(),
    "ToolWorker": SETTINGS | inspect.signature(ToolWorker).parameters.keys(),
    "tool": {"name", "batch", *ToolOptions.__struct_fields__},
}
ARGUMENTS["remote_tool"] = ARGUMENTS["tool"]

OLD_NAMES: Final = "docs/reference/old-names.md"
"""What it names is no more."""


def of(*languages: str) -> list[Any]:
    chosen = (block for block in BLOCKS if block.language in languages)
    return [pytest.param(block, id=f"{block.page}:{block.line}") for block in chosen]


@pytest.mark.parametrize("page", PAGES)
class TestLinks:
    def test_lead_somewhere(self, page: str) -> None:
        missing = []
        for link in links(page):
            path, _, anchor = link.partition("#")
            if path.startswith(("http:", "https:", "mailto:")):
                continue
            target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
            name = str(target.relative_to(ROOT))
            if not target.exists() or (anchor and anchor not in anchors(name)):
                missing.append(link)
        assert missing == []

    def test_none_of_a_page_that_is_read_elsewhere_is_relative(self, page: str) -> None:
        if page.startswith("layers/"):
            assert [link for link in links(page) if not link.startswith(("http:", "https:", "#"))] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_nothing_that_these_tests_do_not_see(page: str) -> None:
    assert unreadable(page) == []


def test_every_page_under_docs_is_in_the_index() -> None:
    listed = {str((ROOT / "docs" / link).resolve().relative_to(ROOT)) for link in links("docs/README.md")}
    assert listed == {page for page in PAGES if page.startswith("docs/")} - {"docs/README.md"}


@pytest.mark.parametrize("page", PAGES)
class TestNames:
    def test_of_settings_exist(self, page: str) -> None:
        spans = [] if page == OLD_NAMES else [text for _, text in inline_code(page)]
        named = {name for text in spans for name in re.findall(r"(?<![\w/.-])[A-Z]+(?:_[A-Z]+)+(?=$|=)", text)}
        named |= {
            name for text in spans for name in re.findall(r"\bMODEL_\w+|\bHTTP_POOL\w+|\bLIMIT_\w+|\bJWT_\w+", text)
        }
        named |= {name for text in spans for name in re.findall(r"(?<![\w/.-])[A-Z]+(?==)", text)} - {"NAME"}
        named |= {name for each in commands(page) for name in variables_before(each.text)}
        named -= named_variables(ROOT / "functions") | MAKE_VARIABLES.keys()
        assert [
            n for n in named if not (n in VARIABLES or OTHER_VARIABLES.fullmatch(n) or OTHER_CAPITALS.fullmatch(n))
        ] == []

    def test_of_variables_of_make_exist(self, page: str) -> None:
        for command in commands(page):
            for words in re.findall(r"\bmake .*?(?= && | \| |$)", command.text):
                given = {word.partition("=")[0] for word in shlex.split(words)[2:] if "=" in word}
                assert given <= MAKE_VARIABLES.keys(), command

    def test_of_files_exist(self, page: str) -> None:
        if page.startswith(("docs/", "README", "CONTRIBUTING", "SECURITY")) and page not in {
            *PAGES_OF_A_PROJECT,
            OLD_NAMES,
        }:
            spans = (text for _, text in inline_code(page))
            named = [text for text in spans if re.fullmatch(r"(?:docs|tests|functions|layers)/[\w./-]+", text)]
            assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []

    def test_of_modules_and_commands_exist(self, page: str) -> None:
        spans = [text for _, text in inline_code(page)]
        modules = [name for text in spans for name in re.findall(r"python3? -m ([\w.]+)", text)]
        assert [name for name in modules if not _is_module(name)] == []
        named = {n for text in spans for n in re.findall(r"(?:\bwinterbourne|-m winterbourne\.local) ([a-z]+)\b", text)}
        assert named <= COMMANDS.keys()

    def test_of_other_programs_stand_in_blocks_where_they_are_run(self, page: str) -> None:
        others = re.compile(r"(\$|sudo|pip3?|uv|uvx|npm|npx|cd|source|export|curl|sam|wget|pytest) .+", re.DOTALL)
        assert [text for _, text in inline_code(page) if others.fullmatch(text) and text not in NAMES_OF_PROGRAMS] == []

    def test_of_parameters_exist(self, page: str) -> None:
        named = set(re.findall(r"(?<![\w.])([A-Z][a-z]+[A-Z][A-Za-z]*)=", read(page)))
        named |= set(re.findall(r"\bparameters? `(\w+)`", read(page)))
        assert named <= set(PARAMETERS)

    def test_of_make_targets_exist(self, page: str) -> None:
        makefiles = ["Makefile", "layers/winterbourne/Makefile"]
        if "files/project" not in page and page != "docs/tutorial.md":
            makefiles.append("development.mk")
        targets = {name for file in makefiles for name in re.findall(r"^([a-z-]+):", read(file), re.MULTILINE)}
        spans = [text for _, text in inline_code(page)] + [
            block.text for block in blocks(page) if block.language == "sh"
        ]
        named = {name for text in spans for name in re.findall(r"(?:^|[\s&;(])make ([a-z][\w-]*)", text)}
        ours = {"wheel"} if page == "docs/tutorial.md" else set()  # said of this repository
        assert named <= targets | ours

    def test_of_outputs_exist(self, page: str) -> None:
        named = set(re.findall(r"\boutputs? `(\w+)`", read(page)))
        assert named <= {name for door in DOORS for name in Stack(template_of(door)).outputs}


def variables_before(command: str) -> list[str]:
    """The names of the variables that are set for a command."""
    (prefix,) = re.findall(r"^(?:[A-Z_]+=(?:'[^']*'|\S)* +)*", command)[:1]
    return re.findall(r"([A-Z_]+)=(?:'[^']*'|\S)* ", prefix)


@pytest.mark.parametrize("page", PAGES)
def test_a_default_is_that_of_the_setting_or_parameter(page: str) -> None:
    """Written as `NAME` (VALUE by default); no number is said to be a default otherwise."""
    text = read(page)
    if page not in GENERATED:
        assert re.findall(r"\bdefault\w*(?: of `\w+`)?(?:,? is| to| of|:|,)? `?\d.*", text) == []
    stated = re.findall(r"`(\w+)` \((\S+) by default\)", text)
    assert len(stated) == len(re.findall(r"\d\S*(?: \w+)? by default", text))
    for name, value in stated:
        default = Settings().values()[name] if name in VARIABLES else PARAMETERS[name]["Default"]
        assert value == (f"{default:g}" if isinstance(default, float) else str(default)), name


@pytest.mark.parametrize("provider", [openai, anthropic, bedrock], ids=lambda module: module.__name__)
def test_the_page_of_a_provider_names_its_default_model(provider: Any) -> None:
    page = f"docs/how-to/{provider.__name__.rpartition('.')[2]}.md"
    assert f"Without `MODEL_ID` the model is `{provider.DEFAULT_MODEL}`." in read(page)


class TestBlocks:
    def test_say_what_they_are(self) -> None:
        unknown = [f"{block.page}:{block.line} {block.language}" for block in BLOCKS if block.language not in LANGUAGES]
        assert unknown == []

    def test_of_text_hide_no_command(self) -> None:
        command = re.compile(
            r"^\s*([A-Z_]+=\S+ )*"
            r"(\$|make|curl|aws|winterbourne (run|new|layer|doctor|verify)|\.venv/\S+|pip|git|sam|cd|python3?|uv|npx"
            r"|npm|docker|sudo|export|source) ",
            re.MULTILINE,
        )
        texts = (block for block in BLOCKS if block.language == "text" and block.page not in GENERATED)
        assert [f"{block.page}:{block.line}" for block in texts if command.search(block.text)] == []

    @pytest.mark.parametrize("block", [each for each in of("python") if each.id.partition(":")[0] not in GENERATED])
    def test_of_python_compile_and_import_what_there_is(self, block: Block) -> None:
        tree = ast.parse(block.text)
        for node in ast.walk(tree):
            for module, names in _imports(node):
                _check_import(block.page, module, names)

    @pytest.mark.parametrize("block", of("python"))
    def test_of_python_pass_arguments_that_there_are(self, block: Block) -> None:
        calls = [node for node in ast.walk(_tree(block)) if isinstance(node, ast.Call)]
        named = [(call.func.id, call.keywords) for call in calls if isinstance(call.func, ast.Name)]
        given = [(name, each.arg) for name, keywords in named if name in ARGUMENTS for each in keywords]
        assert [(name, argument) for name, argument in given if argument not in ARGUMENTS[name]] == []

    @pytest.mark.parametrize("block", of("json"))
    def test_of_json_can_be_read(self, block: Block) -> None:
        json.loads(block.text)

    @pytest.mark.parametrize("block", of("toml"))
    def test_of_toml_can_be_read(self, block: Block) -> None:
        for stage in tomllib.loads(block.text).values():
            given = stage.get("deploy", {}).get("parameters", {}).get("parameter_overrides", ())
            assert {text.partition("=")[0] for text in given} <= set(PARAMETERS)

    @pytest.mark.parametrize("block", of("yaml"))
    def test_of_yaml_can_be_read(self, block: Block) -> None:
        assert yaml.compose(block.text, Loader=yaml.SafeLoader)

    @pytest.mark.slow
    def test_of_javascript_can_be_read(self) -> None:
        scripts = [block for block in BLOCKS if block.language in {"js", "jsx", "tsx"}]
        given = [{"name": f"{block.page}:{block.line}", "code": block.text} for block in scripts]
        assert scripts
        assert npm.run("parse.mjs", given=given) == []


def _tree(block: Block) -> ast.AST:
    """Nothing of a page that is made from the code: its blocks are signatures."""
    return ast.parse("" if block.page in GENERATED else block.text)


def _imports(node: ast.AST) -> list[tuple[str, list[str]]]:
    if isinstance(node, ast.Import):
        return [(alias.name, []) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [(str(node.module), [alias.name for alias in node.names])]
    return []


def _check_import(page: str, module: str, names: list[str]) -> None:
    """A module that is installed, or of this repository; otherwise the page itself shows its file."""
    if module.startswith("chat.") and f"{module.rpartition('.')[2]}.py" in read(page):
        return
    assert importlib.util.find_spec(module), f"{page}: there is no module {module}"
    if module.startswith("winterbourne"):
        found = importlib.import_module(module)
        assert [name for name in names if not (hasattr(found, name) or _is_module(f"{module}.{name}"))] == []


def _is_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def test_there_is_a_page_for_each_kind() -> None:
    assert {Path(page).parts[1] for page in PAGES if page.startswith("docs/")} == {
        "README.md",
        "tutorial.md",
        "examples",
        "how-to",
        "reference",
        "architecture.md",
    }
