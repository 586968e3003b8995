"""Bootstrap: the import path and environment of a handler, as in the stock bootstrap, and loading it by name."""

import gc
import re
import sys
from pathlib import Path

import pytest

from winterbourne.bootstrap import check_versions, load_handler, prepare_environment
from winterbourne.errors import RuntimeFault

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def isolated_sys_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/var/lang/lib/site-packages"])
    for name in [name for name in sys.modules if name.startswith("sample")]:
        monkeypatch.delitem(sys.modules, name)


def add_distribution(folder: Path, name_and_version: str) -> None:
    """Its dist-info; that of the engine names the packages of its layer."""
    metadata = "Metadata-Version: 2.1\nRequires-Dist: h11\nRequires-Dist: pyjwt\nRequires-Dist: a-b\n"
    path = folder / f"{name_and_version}.dist-info" / "METADATA"
    path.parent.mkdir()
    path.write_text(metadata if name_and_version.startswith("winterbourne-") else "Metadata-Version: 2.1\n")


class TestPath:
    def test_the_function_comes_first_then_its_layers_then_lambda(self, tmp_path: Path) -> None:
        environ = {"LAMBDA_TASK_ROOT": str(tmp_path), "LAMBDA_RUNTIME_DIR": "/var/runtime"}
        prepare_environment(environ, "/opt/python")
        assert sys.path[:5] == [
            str(tmp_path),
            f"/opt/python/lib/python{VERSION}/site-packages",
            "/opt/python",
            "/var/runtime",
            "/var/lang/lib/site-packages",
        ]

    def test_a_pythonpath_set_by_the_user_replaces_the_layers(self, tmp_path: Path) -> None:
        environ = {"LAMBDA_TASK_ROOT": str(tmp_path), "LAMBDA_RUNTIME_DIR": "/var/runtime", "PYTHONPATH": "/mine"}
        prepare_environment(environ, "/opt/python")
        assert sys.path == [str(tmp_path), "/var/runtime", "/var/lang/lib/site-packages"]
        assert environ["PYTHONPATH"] == "/mine"

    def test_pythonpath_is_set_for_child_processes(self, tmp_path: Path) -> None:
        environ = {"LAMBDA_TASK_ROOT": str(tmp_path), "LAMBDA_RUNTIME_DIR": "/var/runtime"}
        prepare_environment(environ, "/opt/python")
        assert environ["PYTHONPATH"] == "/var/runtime"

    @pytest.mark.parametrize("where", ["function", "layer", "site"])
    def test_pth_files_are_read(self, where: str, tmp_path: Path) -> None:
        folders = {
            "function": tmp_path / "function",
            "layer": tmp_path / "python",
            "site": tmp_path / "python" / "lib" / f"python{VERSION}" / "site-packages",
        }
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        more = tmp_path / "more"
        more.mkdir()
        (folders[where] / "more.pth").write_text(f"{more}\n")
        prepare_environment({"LAMBDA_TASK_ROOT": str(folders["function"])}, str(folders["layer"]))
        assert str(more) in sys.path

    def test_without_a_task_root_it_is_the_working_directory(self, tmp_path: Path) -> None:
        prepare_environment({}, "/opt/python")
        assert sys.path[0] == str(Path.cwd())


class TestExecutionEnvironment:
    def test_is_named_after_the_python(self, tmp_path: Path) -> None:
        environ = {"LAMBDA_TASK_ROOT": str(tmp_path)}
        prepare_environment(environ, "/opt/python")
        assert environ["AWS_EXECUTION_ENV"] == f"AWS_Lambda_python{VERSION}"

    def test_keeps_the_name_set_by_lambda(self, tmp_path: Path) -> None:
        environ = {"LAMBDA_TASK_ROOT": str(tmp_path), "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"}
        prepare_environment(environ, "/opt/python")
        assert environ["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.13"

    def test_the_working_directory_is_unchanged(self, tmp_path: Path) -> None:
        before = Path.cwd()
        prepare_environment({"LAMBDA_TASK_ROOT": str(tmp_path)}, "/opt/python")
        assert Path.cwd() == before


class TestVersions:
    @pytest.mark.parametrize(
        "folders",
        [
            [],
            ["winterbourne-0.1.0.dist-info", "h11-0.16.0.dist-info", "winterbourne", "h11"],
            ["winterbourne-0.1.0.dist-info", "winterbourne-0.2.0.data"],
            ["winterbourne-0.1.0.dist-info", "winterbourne-0.1.0.dist-info.bak"],
            ["some_package-1.0.dist-info", "some-2.0.dist-info"],
        ],
    )
    def test_of_which_there_is_one_of_each_are_fine(self, folders: list[str], tmp_path: Path) -> None:
        for name in folders:
            (tmp_path / name).mkdir()
        check_versions(str(tmp_path))

    @pytest.mark.parametrize(
        ("folders", "pair"),
        [
            (["winterbourne-0.1.0", "winterbourne-0.2.0"], "winterbourne 0.1.0 and winterbourne 0.2.0"),
            (["h11-0.16.0", "PyJWT-2.9", "pyjwt-2.15.1", "winterbourne-0.1.0"], "PyJWT 2.9 and pyjwt 2.15.1"),
            (["a_b-1", "a_b-2", "winterbourne-0.1.0"], "a_b 1 and a_b 2"),
        ],
    )
    def test_of_which_there_are_two_of_one_are_named(self, folders: list[str], pair: str, tmp_path: Path) -> None:
        for name in folders:
            add_distribution(tmp_path, name)
        with pytest.raises(
            RuntimeFault, match=f"^the layers bring {re.escape(pair)}: build the layers anew$"
        ) as raised:
            check_versions(str(tmp_path))
        assert raised.value.error_type == "Runtime.MixedVersions"

    def test_of_what_is_no_package_of_the_engines_is_nobodys_business(self, tmp_path: Path) -> None:
        for name in ("stripe-11.0.0", "stripe-12.0.0", "winterbourne-0.1.0"):
            add_distribution(tmp_path, name)
        check_versions(str(tmp_path))

    def test_are_not_looked_for_where_there_are_no_layers(self, tmp_path: Path) -> None:
        check_versions(str(tmp_path / "python"))


class TestHandlerNames:
    @pytest.mark.parametrize("name", ["sample/inner/module.handler", "sample.inner.module.handler"])
    def test_folders_are_separated_by_slashes_or_dots(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "sample" / "inner").mkdir(parents=True)
        (tmp_path / "sample" / "inner" / "module.py").write_text("def handler(event, context): return 'here'")
        sys.path.insert(0, str(tmp_path))
        assert load_handler(name)(None, None) == "here"

    @pytest.mark.parametrize(
        ("name", "kind", "message"),
        [
            ("nodot", "Runtime.MalformedHandlerName", "Bad handler 'nodot'"),
            ("", "Runtime.MalformedHandlerName", "Bad handler ''"),
            ("sys.exit", "Runtime.BuiltInModuleConflict", "Cannot use built-in module sys"),
            ("sample_missing.handler", "Runtime.ImportModuleError", "Unable to import module 'sample_missing'"),
            ("sample_fine.other", "Runtime.HandlerNotFound", "Handler 'other' missing on module 'sample_fine'"),
            ("sample_broken.handler", "Runtime.UserCodeSyntaxError", "Syntax error in module 'sample_broken'"),
        ],
    )
    def test_each_failure_to_load_has_lambdas_own_error_type(
        self, name: str, kind: str, message: str, tmp_path: Path
    ) -> None:
        (tmp_path / "sample_fine.py").write_text("handler = print")
        (tmp_path / "sample_broken.py").write_text("def handler(:")
        sys.path.insert(0, str(tmp_path))
        with pytest.raises(RuntimeFault, match=message) as raised:
            load_handler(name)
        assert raised.value.error_type == kind

    def test_an_exception_raised_by_the_module_propagates(self, tmp_path: Path) -> None:
        (tmp_path / "sample_raises.py").write_text("1 / 0")
        sys.path.insert(0, str(tmp_path))
        with pytest.raises(ZeroDivisionError):
            load_handler("sample_raises.handler")


LARGE = """
import gc

before = gc.get_stats()
kept = [[] for _ in range(99_999)]
after = gc.get_stats()
handler = lambda: after == before
"""


class TestGarbageCollection:
    """Little of what is imported is garbage, and looking for it took a twelfth of a chat's start."""

    def test_begins_when_the_handler_has_been_imported(self, tmp_path: Path) -> None:
        (tmp_path / "sample_large.py").write_text(LARGE)
        sys.path.insert(0, str(tmp_path))
        usual = gc.get_threshold()
        assert load_handler("sample_large.handler")()
        assert gc.get_threshold() == usual
        assert not gc.get_objects()[9_999:]

    def test_is_the_modules_own_business_if_it_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "sample_own.py").write_text("import gc\ngc.set_threshold(4321)\nhandler = print")
        sys.path.insert(0, str(tmp_path))
        usual = gc.get_threshold()
        try:
            load_handler("sample_own.handler")
            assert gc.get_threshold()[0] == 4321
        finally:
            gc.set_threshold(*usual)
