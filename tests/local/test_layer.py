"""`winterbourne layer`: what is in each of the three layers, and what is said if one cannot be built."""

import hashlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winterbourne import __version__
from winterbourne.local import layer
from winterbourne.local.layer import ENTRY, LOCKS, ROOTS, BuildError, _beyond_the_engine, main

HASH = "    --hash=sha256:" + "0" * 64
SIX = "six==1.17.0 \\\n    --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\n"


@pytest.fixture(autouse=True)
def without_lambdas_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winterbourne.local.artifact.lambdas_python", lambda: "3.1")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def tops(folder: Path) -> set[str]:
    return {path.name for path in (folder / "python").iterdir()}


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def entry(name: str, version: str, marker: str = "") -> str:
    return f"{name}=={version}{marker} \\\n{HASH} \\\n{HASH}\n"


@pytest.fixture
def a_lock(tmp_path: Path) -> Path:
    return tmp_path / "requirements.txt"


class TestTheRuntimeAlone:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        assert main(["--runtime-only", "--into", str(tmp_path / "opt")]) == 0
        return tmp_path / "opt"

    def test_has_the_wrapper_the_runtime_and_h11(self, folder: Path) -> None:
        h11 = f"h11-{importlib.metadata.version('h11')}.dist-info"
        assert tops(folder) == {"h11", h11, "winterbourne", f"winterbourne-{__version__}.dist-info"}
        assert (folder / "winterbourne").stat().st_mode & 0o777 == 0o755
        assert {path.name for path in (folder / "python/winterbourne").iterdir() if path.is_dir()} == set()

    def test_names_its_version_to_whoever_asks(self, folder: Path) -> None:
        (found,) = importlib.metadata.distributions(name="winterbourne", path=[str(folder / "python")])
        assert found.version == __version__

    def test_serves_nothing_but_python_files_and_the_licence(self, folder: Path) -> None:
        names = {name for name in files(folder / "python") if ".dist-info/" not in name}
        assert "winterbourne/LICENSE" in names
        assert {Path(name).suffix for name in names - {"winterbourne/LICENSE"}} == {".py", ".typed"}

    def test_is_made_by_pip_where_there_is_no_uv_and_has_the_same_bytes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert main(["--runtime-only", "--into", str(tmp_path / "uv.zip")]) == 0
        plain = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
        monkeypatch.setattr(shutil, "which", lambda _: None)
        monkeypatch.setattr(sys, "executable", str(without_uv(tmp_path)))
        assert layer._installer("") == [str(tmp_path / "python"), *plain[1:]]
        assert main(["--runtime-only", "--into", str(tmp_path / "pip.zip")]) == 0
        assert digest(tmp_path / "pip.zip") == digest(tmp_path / "uv.zip")

    def test_as_a_zip_says_how_to_publish_it(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "dist" / "winterbourne-runtime.zip"
        assert main(["--runtime-only", "--into", str(file)]) == 0
        assert capsys.readouterr().out == (
            "aws lambda publish-layer-version --layer-name winterbourne-runtime"
            f" --description 'Winterbourne {__version__}' --zip-file fileb://{file}"
            " --compatible-runtimes python3.11 python3.12 python3.13 python3.14"
            " --compatible-architectures arm64 x86_64\n"
        )
        with zipfile.ZipFile(file) as archive:
            assert {"winterbourne", "python/winterbourne/runtime.py"} <= set(archive.namelist())


def without_uv(folder: Path) -> Path:
    """This Python, by a path beside which there is no uv."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


class TestTheEngine:
    @pytest.mark.slow
    def test_has_the_chat_and_the_packages_of_its_lock_for_that_processor_and_neither_commands_nor_boto3(
        self, tmp_path: Path
    ) -> None:
        assert main(["--architecture", "arm64", "--into", str(tmp_path / "opt")]) == 0
        names = files(tmp_path / "opt")
        assert "python/winterbourne/chat/page/index.html" in names
        assert f"python/{ROOTS}/ce5e74ef.0" in names, "a root certificate of Amazon's"
        assert not [name for name in names if re.match(r"python/(winterbourne/local|boto3|botocore|bin)/", name)]
        assert [name for name in names if name.endswith("aarch64-linux-gnu.so")]
        locked = {name.replace("-", "_") for name, _ in ENTRY.findall((LOCKS / "chat.txt").read_text())}
        installed = {name.partition("-")[0].lower() for name in tops(tmp_path / "opt") if name.endswith(".dist-info")}
        assert installed == locked | {"winterbourne"}

    def test_needs_a_processor(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["--into", str(tmp_path / "opt")])
        assert "name the --architecture" in capsys.readouterr().err

    def test_needs_uv_for_what_is_compiled(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(shutil, "which", lambda _: None)
        monkeypatch.setattr(sys, "executable", str(without_uv(tmp_path)))
        assert main(["--architecture", "arm64", "--into", str(tmp_path / "opt")]) == 1
        assert "pip install uv" in capsys.readouterr().err


class TestTheUsersPackages:
    def built(self, lock: Path, folder: Path) -> int:
        return main(["--architecture", "x86_64", "--dependencies", str(lock), "--into", str(folder)])

    def test_are_those_of_the_lock_that_the_engine_does_not_have(self, a_lock: Path, tmp_path: Path) -> None:
        a_lock.write_text((LOCKS / "chat.txt").read_text() + SIX)
        assert self.built(a_lock, tmp_path / "opt") == 0
        assert tops(tmp_path / "opt") == {"six.py", "six-1.17.0.dist-info"}

    @pytest.mark.parametrize("text", ["", "# nothing yet\n", (LOCKS / "chat.txt").read_text()])
    def test_may_be_none(self, text: str, a_lock: Path, tmp_path: Path) -> None:
        """Lambda takes no empty layer, so there is something in it."""
        a_lock.write_text(text)
        assert self.built(a_lock, tmp_path / "opt") == 0
        assert files(tmp_path / "opt") == {"python/.keep"}

    def test_of_another_version_than_the_engines_are_an_error_that_says_what_to_do(
        self, a_lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        a_lock.write_text(SIX + entry("orjson", "0.1.0"))
        assert self.built(a_lock, tmp_path / "opt") == 1
        engines = importlib.metadata.version("orjson")
        expected = f"{a_lock} has orjson 0.1.0, the engine's layer has {engines}: run `make lock`\n"
        assert capsys.readouterr().err == f"winterbourne layer: {expected}"

    def test_whose_hash_is_another_are_not_installed(
        self, a_lock: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        a_lock.write_text(f"six==1.17.0 \\\n{HASH}\n")
        assert self.built(a_lock, tmp_path / "opt") == 1
        assert capfd.readouterr().err.endswith("the locked packages cannot be installed; the reason is above\n")
        assert not files(tmp_path / "opt"), "so that it can be tried again"

    @pytest.mark.parametrize("line", ["six", "six == 1.17.0", "six @ file:///no/such/six-1.17.0-py3-none-any.whl"])
    def test_of_a_line_that_is_no_pinned_package_are_an_error_and_never_left_out_in_silence(
        self, a_lock: Path, tmp_path: Path, line: str
    ) -> None:
        a_lock.write_text(f"{line}\n")
        assert self.built(a_lock, tmp_path / "opt") == 1

    def test_may_be_a_wheel_by_its_path_from_the_project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wheel = tmp_path / "wheels" / "shop-1.0-py3-none-any.whl"
        wheel.parent.mkdir()
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("shop.py", "")
            archive.writestr("shop-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
            archive.writestr("shop-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr("shop-1.0.dist-info/RECORD", "")
        lock = tmp_path / "layers" / "dependencies" / "requirements.txt"
        lock.parent.mkdir(parents=True)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lock.write_text(f"./wheels/{wheel.name} --hash=sha256:{digest}\n")
        monkeypatch.chdir(lock.parent)  # as sam is in a folder of its own
        assert self.built(lock, Path("opt")) == 0
        assert tops(Path("opt")) == {"shop.py", "shop-1.0.dist-info"}

    def test_of_a_lock_that_is_not_there_are_an_error(
        self, a_lock: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.built(a_lock, tmp_path / "opt") == 1
        assert str(a_lock) in capsys.readouterr().err


class TestWhatIsLeftOut:
    def test_is_what_nobody_imports(self, tmp_path: Path) -> None:
        kept = {"a/__init__.py", "a/tests/needed.py", "a/data.json", "a-1.dist-info/METADATA"}
        kept |= {"a-1.dist-info/entry_points.txt", "a-1.dist-info/LICENSE", "a-1.dist-info/licenses/NOTICE"}
        gone = {
            "bin/a",
            "a/page/page.min.js",
            "a/page/page.css",
            "a-1.dist-info/sboms/a.json",
            "a/core.pyx.c",
            "a/core.pxd",
            "a/stub.pyi",
            ".lock",
            "b/only.h",
        }
        gone |= {"a-1.dist-info/RECORD", "a-1.dist-info/WHEEL", "a-1.dist-info/INSTALLER"}
        for name in kept | gone:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        layer._remove(tmp_path, layer.NOT_IMPORTED)
        assert files(tmp_path) == kept
        assert not (tmp_path / "b").exists()

    def test_is_not_what_a_users_package_may_read_when_it_runs(self, tmp_path: Path) -> None:
        """As those do that load their modules lazily by their stubs."""
        for name in ("a/__init__.pyi", "a/core.h", "a/old.pyc"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        layer._remove(tmp_path, {".pyc", ".lock"})
        assert files(tmp_path) == {"a/__init__.pyi", "a/core.h"}


NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,5})?", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,2}", fullmatch=True)
MARKERS = st.sampled_from(["", " ; python_full_version < '3.13'", " ; sys_platform != 'win32'"])


class TestALock:
    @given(st.lists(st.tuples(NAMES, VERSIONS, MARKERS)))
    def test_is_read_whole(self, packages: list[tuple[str, str, str]]) -> None:
        text = "# a comment\n" + "".join(entry(*package) for package in packages)
        assert ENTRY.findall(text) == [(name, version) for name, version, _ in packages]
        assert ENTRY.sub("", text) == "# a comment\n"

    def test_with_what_is_no_pinned_package_keeps_that_line_for_uv_to_refuse(self, a_lock: Path) -> None:
        a_lock.write_text("six\n" + (LOCKS / "chat.txt").read_text() + "-e .\n")
        assert _beyond_the_engine(a_lock) == "six\n-e .\n"

    def test_with_extras_is_of_the_package(self, a_lock: Path) -> None:
        a_lock.write_text(entry("httpx[http2]", "0.1"))
        with pytest.raises(BuildError, match=r"has httpx 0\.1,"):
            _beyond_the_engine(a_lock)


def test_the_help_names_each_layer() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "winterbourne.local", "layer", "--help"], capture_output=True, text=True, check=True
    )
    assert {"--runtime-only", "--dependencies", "--architecture", "--into"} <= set(re.findall(r"--[\w-]+", done.stdout))
