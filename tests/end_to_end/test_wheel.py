"""The wheel: always the same bytes, all that it must have and nothing else, and it runs where nothing else is."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from trove_classifiers import classifiers

from tests.artifact import BIN, ROOT
from tests.local_server import local_server
from winterbourne import __version__

pytestmark = pytest.mark.slow

PACKAGE = ROOT / "layers/winterbourne/python/winterbourne"
NAME = f"winterbourne-{__version__}-py3-none-any.whl"
LICENSE = "licenses/python/winterbourne/LICENSE"
OF_A_PROJECT = "licenses/python/winterbourne/local/files/LICENSE-MIT-0"
# Of the repository's root: what a project has at the same paths.
PROJECT = {"Makefile", "template.yaml", "samconfig.toml", "functions/Makefile", "layers/arm64/.keep"} | {
    *("layers/x86_64/.keep", "layers/dependencies/Makefile", "layers/winterbourne/Makefile"),
    *("tests/events/chat.json", "tests/events/environment.json"),
}


def build(folder: Path, root: Path = ROOT) -> Path:
    """`make wheel`, in a copy of what it needs, so that no two tests write to one `dist`."""
    (folder / ".venv").symlink_to(BIN.parent)
    command = ["make", "--silent", "--old-file=.venv/dev", f"--makefile={root / 'Makefile'}", "wheel"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "dist" / NAME


def checkout(folder: Path) -> Path:
    """What the wheel is made of, with other dates and modes than here, and with caches."""
    unwanted = shutil.ignore_patterns("__pycache__", ".mypy_cache")
    shutil.copytree(ROOT / "layers", folder / "layers", ignore=unwanted, copy_function=shutil.copyfile)
    for name in ("Makefile", "development.mk", "template.yaml", "samconfig.toml", ".gitignore", *sorted(PROJECT)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    package = folder / "layers/winterbourne/python/winterbourne"
    (package / "local/files/wrapper").chmod(0o755)
    (package / "__pycache__").mkdir()
    (package / "__pycache__/errors.cpython-313.pyc").touch()
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return build(checkout(folder), folder)


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_it_has_the_same_bytes_whenever_and_wherever_it_is_built(wheel: Path, tmp_path: Path) -> None:
    again = build(checkout(tmp_path), tmp_path)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(wheel.read_bytes()).digest()


def test_it_is_the_package_the_projects_files_and_nothing_else(wheel: Path) -> None:
    package = {str(path.relative_to(PACKAGE.parent)) for path in PACKAGE.rglob("*") if path.is_file()}
    project = {f"winterbourne/local/files/project/{name}" for name in PROJECT}
    files = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", LICENSE, OF_A_PROJECT)
    about = {f"winterbourne-{__version__}.dist-info/{name}" for name in files}
    assert names(wheel) == {name for name in package if "__pycache__" not in name} | project | about


@pytest.mark.parametrize("name", sorted(PROJECT))
def test_a_projects_files_are_those_of_this_repository(name: str, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(f"winterbourne/local/files/project/{name}") == (ROOT / name).read_bytes()


class TestMetadata:
    @pytest.fixture
    def found(self, wheel: Path) -> Metadata:
        with zipfile.ZipFile(wheel) as archive:
            return Metadata.from_email(archive.read(f"winterbourne-{__version__}.dist-info/METADATA"), validate=True)

    def test_is_valid_and_says_whose_it_is_and_under_which_licence(self, found: Metadata) -> None:
        assert (found.name, str(found.version)) == ("winterbourne", __version__)
        assert (found.author, found.license_expression) == ("The Winterbourne developers", "Apache-2.0")
        assert found.license_files == [name.removeprefix("licenses/") for name in (LICENSE, OF_A_PROJECT)]
        assert found.keywords

    def test_has_classifiers_that_exist_and_none_for_the_licence(self, found: Metadata) -> None:
        assert set(found.classifiers or ()) <= classifiers
        assert not [name for name in found.classifiers or () if name.startswith("License ::")]

    def test_names_no_address_that_is_not_public(self, found: Metadata) -> None:
        assert (found.project_urls, found.author_email) == (None, None)

    def test_the_licence_is_the_repositorys_in_the_wheel_and_in_layers(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            copies = [
                archive.read(f"winterbourne-{__version__}.dist-info/{LICENSE}"),
                archive.read("winterbourne/LICENSE"),
            ]
        assert copies == [(ROOT / "LICENSE").read_bytes()] * 2


def uv_build(*arguments: str | Path) -> None:
    command: list[str | Path] = [BIN / "uv", "build", "-q", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*command, *arguments], check=True)


def test_an_sdist_has_the_licence_and_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    uv_build("--sdist", "--out-dir", tmp_path, checkout(tmp_path / "checkout") / "layers/winterbourne")
    with tarfile.open(tmp_path / f"winterbourne-{__version__}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    uv_build("--wheel", "--out-dir", tmp_path, tmp_path / f"winterbourne-{__version__}")
    assert dist_info(tmp_path / NAME) == dist_info(wheel)
    assert names(tmp_path / NAME) == names(wheel)


def dist_info(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" in name and not name.endswith("/RECORD")]
        return {name: archive.read(name) for name in names}


def test_from_its_folder_alone_it_has_no_files_of_the_folders_around(tmp_path: Path) -> None:
    folder = checkout(tmp_path) / "layers/winterbourne"
    (tmp_path / "samconfig.toml").unlink()
    uv_build("--wheel", "--out-dir", tmp_path / "dist", folder)
    found = names(tmp_path / "dist" / NAME)
    assert "winterbourne/local/files/wrapper" in found
    assert not [name for name in found if name.startswith("winterbourne/local/files/project/Makefile")]


@pytest.fixture(scope="module")
def venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment, with the wheel and what its extra `local` needs."""
    folder = tmp_path_factory.mktemp("venv") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    locks = PACKAGE / "local/files/locks"
    command: list[Path | str] = [
        folder / "bin/pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        f"{wheel}[local]",
    ]
    subprocess.run([*command, "--constraint", _versions(locks / "dev.txt", folder)], check=True)
    return folder


def _versions(lock: Path, folder: Path) -> Path:
    """The lock without its hashes, which the wheel itself has none of."""
    lines = [line.rstrip(" \\") for line in lock.read_text().splitlines() if not line.startswith(" ")]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(lines))
    return constraints


@pytest.mark.doors
class TestInstalled:
    def test_it_serves_any_function(self, venv: Path, tmp_path: Path) -> None:
        (tmp_path / "app.py").write_text("async def handler(event, context):\n    yield 'from the wheel'\n")
        flags = ["--task-root", str(tmp_path), "--handler", "app.handler"]
        with local_server(tmp_path, *flags, command=(str(venv / "bin/winterbourne"), "run")) as server:
            assert urllib.request.urlopen(server.url, timeout=20).read() == b"from the wheel"

    def test_it_writes_the_same_layer_as_the_source(self, venv: Path, tmp_path: Path) -> None:
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        source = [sys.executable, "-m", "winterbourne.local"]
        commands = {"wheel": [str(venv / "bin/winterbourne")], "source": source}
        for name, command in commands.items():
            arguments = ["layer", "--runtime-only", "--into", str(tmp_path / f"{name}.zip")]
            subprocess.run([*command, *arguments], check=True, env=environ, stdout=subprocess.DEVNULL)
        assert (tmp_path / "wheel.zip").read_bytes() == (tmp_path / "source.zip").read_bytes()

    def test_a_type_checker_accepts_right_calls_of_it_and_no_wrong_ones(self, venv: Path, tmp_path: Path) -> None:
        shutil.copy(ROOT / "tests/project/example_calls.py", tmp_path)
        options = ["--strict", "--config-file=", f"--python-executable={venv / 'bin/python'}", "--cache-dir=cache"]
        command = [sys.executable, "-P", "-m", "mypy", *options, "example_calls.py"]
        environ = {name: value for name, value in os.environ.items() if name not in {"MYPYPATH", "PYTHONPATH"}}
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_folder_alone_makes_the_layer_with_python_and_pip(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "other") / "layers/winterbourne"
    shutil.move(folder, tmp_path / "alone")
    shutil.rmtree(tmp_path / "other")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(_base_python())
    environ = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}
    environ |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    command = ["make", "layer"]
    done = subprocess.run(command, cwd=tmp_path / "alone", env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--zip-file fileb://dist/winterbourne-runtime.zip" in done.stdout
    with zipfile.ZipFile(tmp_path / "alone/dist/winterbourne-runtime.zip") as archive:
        assert {"winterbourne", "python/h11/__init__.py"} <= set(archive.namelist())


def _base_python() -> str:
    """The Python that `.venv` was made with."""
    return os.path.realpath(sys.executable)
