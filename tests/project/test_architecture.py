"""`docs/architecture.md`: modules import what its table allows, places it names exist; old names lead to new ones."""

import ast
import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.stack import ROOT

PLACES = (ROOT / "docs/architecture.md").read_text()
OLD_NAMES = (ROOT / "docs/reference/old-names.md").read_text()
LAYER = ROOT / "layers/winterbourne/python"


def source(module: str) -> Path | None:
    """The file of a module; it is not imported, since importing an app starts it."""
    folder = LAYER if module.startswith("winterbourne") else ROOT / "functions"
    path = folder.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


@functools.cache
def names_in(file: Path) -> frozenset[str]:
    """Top-level names, and `Class.member` for methods, fields and attributes."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        names |= targets(node)
        if isinstance(node, ast.ClassDef):
            members = {name for inner in node.body for name in targets(inner)}
            stored = (inner for inner in ast.walk(node) if isinstance(inner, ast.Attribute))
            members |= {inner.attr for inner in stored if isinstance(inner.ctx, ast.Store)}
            names |= {f"{node.name}.{member}" for member in members}
    return frozenset(names)


def targets(node: ast.stmt) -> set[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {node.name}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case ast.Assign():
            return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return set()


def exists(dotted: str) -> bool:
    module, _, name = dotted.rpartition(".")
    return bool(source(dotted)) or bool((file := source(module)) and name in names_in(file))


class TestWhereIs:
    def test_every_place_exists(self) -> None:
        rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|", PLACES.partition("## Where is")[2], re.MULTILINE)
        places = [names for what, names in rows if what not in {"what", "---"}]
        assert len(places) > 50
        for names in places:
            last = ""
            for name in re.findall(r"`([^`]+)`", names):
                if "/" in name:
                    assert (ROOT / name).exists()
                    continue
                last = name if not name.startswith(".") else last.rpartition(".")[0] + name
                assert exists(f"winterbourne.{last}"), name


ENGINE = "winterbourne.chat"
FOR_ALL = frozenset({f"{ENGINE}.errors", "winterbourne.override"})


def read_contract() -> dict[str, frozenset[str]]:
    """The modules and packages of the engine, and what each may import of the project."""
    table = PLACES.partition("## The packages")[2].partition("## Where is")[0]
    contract = {}
    for name, allowed in re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\|([^|]*)\|$", table, re.MULTILINE):
        names = map(qualified, re.findall(r"`([^`]+)`", allowed))
        contract[qualified(name)] = FOR_ALL.union(names)
    return contract


def qualified(name: str) -> str:
    return name if name.partition(".")[0] == "winterbourne" else ENGINE if name == "chat" else f"{ENGINE}.{name}"


def owner(module: str) -> str:
    """The module or package of the engine, `local`, the runtime or the function that a module belongs to."""
    parts = module.split(".")
    depth = 3 if module.startswith(ENGINE) else 2 if parts[1:2] == ["local"] else 1
    return ".".join(parts[:depth])


@functools.cache
def all_sources() -> dict[str, str]:
    """The source of every module, by its name; not the files that `winterbourne new` writes."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path.read_text()
        for root in (LAYER, ROOT / "functions")
        for path in root.rglob("*.py")
        if "local/files/" not in path.as_posix()
    }


def imports(module: str, text: str) -> set[str]:
    """The modules of the project that a source imports, inside functions and for type checkers only included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            named = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in all_sources() else str(node.module) for name in named}
    return {name for name in found if name.partition(".")[0] in {"winterbourne", "chat", "tool_worker"}}


def forbidden_imports(module: str, text: str) -> list[str]:
    allowed = read_contract()[owner(module)] | {owner(module)}
    return sorted(imported for imported in imports(module, text) if not {imported, owner(imported)} & allowed)


def cycles(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """What is left of the graph when everything that leads to no cycle has been taken away."""
    left = {name: set(targets) - {name} for name, targets in graph.items()}
    while free := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in free:
            del left[name]
    return sorted(left)


class TestImports:
    """The arrows of the drawing."""

    def test_names_are_imported_at_run_time_in_few_places(self) -> None:
        """Providers, formats, names of packages on first use, tools, the commands of the command line."""
        assert {name for name, text in all_sources().items() if "import_module(" in text or "__import__" in text} == {
            "winterbourne",
            "winterbourne.bootstrap",
            "winterbourne.lifecycle",
            "winterbourne.chat",
            "winterbourne.chat.auth.factory",
            "winterbourne.chat.formats.base",
            "winterbourne.chat.providers.factory",
            "winterbourne.chat.tool_runtime.discovery",
            "winterbourne.chat.tool_runtime.process_worker",
            "winterbourne.local.cli",
        }

    def test_every_module_and_package_of_the_engine_has_a_row(self) -> None:
        files = (path for path in (LAYER / "winterbourne/chat").iterdir() if path.name != "__pycache__")
        names = {"chat" if path.stem == "__init__" else path.stem for path in files}
        assert set(map(qualified, names)) == read_contract().keys()

    @pytest.mark.parametrize("part", read_contract())
    def test_the_engine_imports_what_the_table_allows(self, part: str) -> None:
        modules = {module: text for module, text in all_sources().items() if module.startswith(ENGINE)}
        for module, text in modules.items():
            if owner(module) == part:
                assert forbidden_imports(module, text) == [], module

    def test_the_table_allows_nothing_that_no_one_imports(self) -> None:
        for part, allowed in read_contract().items():
            imported = {one for m, text in all_sources().items() if owner(m) == part for one in imports(m, text)}
            reached = {owner(one) for one in imported} | imported
            assert allowed - reached <= FOR_ALL, part

    def test_the_runtime_knows_nothing_of_chat(self) -> None:
        for module, text in all_sources().items():
            if owner(module) == "winterbourne":
                assert {owner(one) for one in imports(module, text)} <= {"winterbourne"}, module

    def test_the_local_server_imports_of_the_engine_only_its_settings(self) -> None:
        for module, text in all_sources().items():
            if owner(module) == "winterbourne.local":
                of_the_engine = {
                    qualified(name) for name in ("settings", "settings_variable", "errors", "http_library")
                }
                allowed = {"winterbourne.local", "winterbourne", *of_the_engine}
                assert {owner(one) for one in imports(module, text)} <= allowed, module

    def test_one_module_imports_the_http_client_library(self) -> None:
        imports_it = re.compile(r"^\s*(import|from) httpx", re.MULTILINE)
        assert [file.stem for file in LAYER.rglob("*.py") if imports_it.search(file.read_text())] == ["http_library"]

    def test_its_successor_is_one_line_away(self) -> None:
        source = (LAYER / "winterbourne/chat/http_library.py").read_text()
        swapped, count = re.subn("^import httpx$", "import httpx2 as httpx", source, flags=re.MULTILINE)
        names: dict[str, Any] = {}
        exec(swapped, names)
        assert (count, names["httpx"].__name__) == (1, "httpx2")

    def test_a_tool_needs_only_the_public_names(self) -> None:
        for module, text in all_sources().items():
            if module.startswith(("chat.tools.", "tool_worker.tools.")):
                assert imports(module, text) <= {ENGINE}, module

    def test_no_module_imports_itself_in_a_circle(self) -> None:
        assert cycles({module: imports(module, text) for module, text in all_sources().items()}) == []

    def test_no_package_imports_itself_in_a_circle(self) -> None:
        assert cycles(read_contract()) == []

    @pytest.mark.parametrize(
        ("module", "statement"),
        [
            ("storage.made_up", "from winterbourne.chat.http.service import reply"),
            ("storage.made_up", "from winterbourne.chat import http"),
            ("storage.made_up", "import winterbourne.chat.auth.base"),
            ("core.made_up", "def f():\n    from winterbourne.chat.providers.openai import make"),
            ("formats.made_up", "if TYPE_CHECKING:\n    from winterbourne.chat.providers.openai import OpenAIProvider"),
            ("http.made_up", "from winterbourne.chat.formats.native import FORMAT"),
            ("providers.made_up", "from winterbourne import ResponseStream"),
            ("errors", "from winterbourne.local.server import run_server"),
        ],
    )
    def test_a_forbidden_import_is_found(self, module: str, statement: str) -> None:
        assert forbidden_imports(qualified(module), statement)

    def test_a_circle_is_found(self) -> None:
        assert cycles({"a": ["b"], "b": ["c"], "c": ["b"], "d": []}) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("old", "new", "names"), re.findall(r"^\| `([^`]+)` \| (.+) \| (.*) \|$", OLD_NAMES, re.MULTILINE)
)
def test_every_old_name_leads_to_one_that_exists(old: str, new: str, names: str) -> None:
    modules = re.findall(r"`([^`]+)`", new)
    files = [source(module) for module in modules]
    assert files
    assert all(files), old
    for name in re.findall(r"→ `([^`]+)`", names):
        module, _, rest = name.partition(".")  # where a module was split, its name comes first
        is_split = len(files) > 1 and module in {module.rpartition(".")[2] for module in modules}
        assert any(file and (rest if is_split else name) in names_in(file) for file in files), name
