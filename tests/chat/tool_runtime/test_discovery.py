"""Tool discovery: every tool in the modules of a package is registered."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from chat import tools
from winterbourne.chat.infra import telemetry
from winterbourne.chat.tool_runtime.declaration import ToolOptions, tool
from winterbourne.chat.tool_runtime.discovery import add_tools, discover
from winterbourne.chat.tool_runtime.executor import ToolExecutor


@tool
async def some() -> int:
    """Some tool."""
    return 1


TOOL = '''
from winterbourne.chat.tool_runtime.declaration import tool

@tool
async def {name}() -> int:
    """Some tool."""
    return 1
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an empty package named found_tools."""
    folder = tmp_path / "found_tools"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "found_tools"]:
        del sys.modules[name]


def import_package() -> ModuleType:
    importlib.invalidate_caches()
    return importlib.import_module("found_tools")


def test_every_module_of_the_package_is_a_tool_module(package: Path) -> None:
    (package / "b.py").write_text(TOOL.format(name="second"))
    (package / "a.py").write_text(TOOL.format(name="first") + TOOL.format(name="also"))
    assert [tool.name for tool in discover(import_package())] == ["first", "also", "second"]


def test_packages_within_the_package_are_searched_too(package: Path) -> None:
    (package / "shop" / "orders").mkdir(parents=True)
    for name in ("shop/__init__", "shop/orders/__init__", "shop/_private"):
        (package / f"{name}.py").touch()
    (package / "shop" / "orders" / "a.py").write_text(TOOL.format(name="first"))
    assert [tool.name for tool in discover(import_package())] == ["first"]


def test_a_folder_that_is_no_package_is_mentioned(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("shop", "__pycache__", "not-a-name"):
        (package / name).mkdir(exist_ok=True)
    assert discover(import_package()) == []
    assert caplog.messages == ["found_tools.shop is not searched for tools: it has no __init__.py"]


def test_a_tool_that_another_module_imports_is_found_once(package: Path) -> None:
    (package / "a.py").write_text(TOOL.format(name="first"))
    (package / "b.py").write_text("from found_tools.a import first")
    assert [tool.name for tool in discover(import_package())] == ["first"]


def test_modules_with_an_underscore_are_helpers(package: Path) -> None:
    (package / "_helper.py").write_text("raise RuntimeError")
    assert discover(import_package()) == []


BROKEN = {
    "import no_such_module": ", line 1: ModuleNotFoundError: No module named 'no_such_module'",
    "x = 1\nraise SystemExit(3)": ", line 2: SystemExit: 3",
    "def (": ", line 1: SyntaxError: ",
    "1 / 0": ", line 1: ZeroDivisionError: division by zero",
    TOOL.format(name="odd").replace("@tool", "@tool(timeout=5)"): ": Tool odd has no option timeout; there are ",
    TOOL.format(name="odd").replace("@tool", "@tool('odd')"): ": @tool takes a function",
    TOOL.format(name="first"): ": Two tools are named first: one in found_tools.a, one in found_tools.b.",
}


class TestWhatCannotBeUsed:
    @pytest.mark.parametrize(("text", "reason"), BROKEN.items(), ids=[str(number) for number in range(len(BROKEN))])
    def test_is_left_out_with_its_file_and_the_reason(
        self, package: Path, text: str, reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        (package / "a.py").write_text(TOOL.format(name="first"))
        (package / "b.py").write_text(text)
        (package / "c.py").write_text(TOOL.format(name="third"))
        assert [tool.name for tool in discover(import_package())] == ["first", "third"]
        [record] = [record for record in caplog.records if record.levelname == "ERROR"]
        left_out = vars(record)["left_out"]
        assert left_out.startswith("found_tools/b.py")
        assert reason in left_out
        assert "\n" not in left_out

    def test_is_a_package_too(self, package: Path, caplog: pytest.LogCaptureFixture) -> None:
        (package / "sub").mkdir()
        (package / "sub" / "__init__.py").write_text("\n1 / 0")
        assert discover(import_package()) == []
        assert "found_tools/sub/__init__.py, line 2: ZeroDivisionError" in caplog.text

    def test_is_counted_by_the_next_request(self, package: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (package / "a.py").write_text("import no_such_module")
        (package / "b.py").write_text("import no_such_module")
        outputs = []
        for _ in range(3):
            with telemetry.request_scope("r-1", telemetry.make_logger(), telemetry.SERVICE):
                pass
            outputs.append(capsys.readouterr().out)
            if len(outputs) == 1:  # whatever other tests have left out
                discover(import_package())
        assert '"ToolsLeftOut":[2.0]' in outputs[1]
        assert "ToolsLeftOut" not in outputs[2]

    def test_at_run_time_is_a_tool_whose_name_is_taken(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO")
        executor = ToolExecutor(())
        needy = msgspec.structs.replace(some, options=ToolOptions(keys=("SHOP_API_KEY",)), name="needy")
        add_tools(executor, [needy, some, some])
        assert [schema.name for schema in executor.schemas] == ["needy", "some"]
        assert [vars(record)["left_out"] for record in caplog.records if record.levelname == "ERROR"] == [
            f"{__name__.replace('.', '/')}.py: Two tools are named some.",
        ]
        assert vars(caplog.records[-1])["tools_offered"] == ["needy", "some"]
        assert vars(caplog.records[-1])["tools_unavailable"] == {"needy": "SHOP_API_KEY"}


def test_a_function_without_the_decorator_is_mentioned(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    (package / "a.py").write_text("from os.path import join\nasync def moor(ship: str) -> str: ...\n")
    (package / "b.py").write_text(TOOL.format(name="first") + "def helper(): ...")
    assert [tool.name for tool in discover(import_package())] == ["first"]
    assert [record.getMessage() for record in caplog.records] == [
        "found_tools.a has no tool: none of its functions (moor) has @tool"
    ]


def test_the_shipped_tools_are_found() -> None:
    names = {"calculate", "convert_currency", "current_time", "get_stock_quote", "get_weather"}
    assert names <= {tool.name for tool in discover(tools)}
