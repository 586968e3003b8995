"""`winterbourne new`: the files of a project, where its wheel is looked for, and the patch to a newer version."""

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.stack import template_of
from winterbourne import __version__
from winterbourne.local import cli, new

ROOT = Path(__file__).parents[2]
WHEEL = f"winterbourne-{__version__}-py3-none-any.whl"


@pytest.fixture(autouse=True)
def _no_wheels_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINTERBOURNE_WHEELS", raising=False)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with a file that has the wheel's name."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / WHEEL).write_bytes(b"the wheel")
    return folder


@pytest.fixture
def project(tmp_path: Path, wheels: Path) -> Path:
    new.create(tmp_path / "Harbour Desk", str(wheels))
    return tmp_path / "Harbour Desk"


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


class TestProject:
    def test_has_these_files(self, project: Path) -> None:
        assert files(project) - set(new.ENGINE_FILES) == {
            ".gitignore",
            "README.md",
            "functions/chat/__init__.py",
            "functions/chat/app.py",
            "functions/chat/instructions.md",
            "functions/chat/tools/__init__.py",
            "functions/chat/tools/due_date.py",
            "layers/dependencies/requirements.in",
            "layers/dependencies/requirements.txt",
            "local.mk",
            "pyproject.toml",
            "requirements.txt",
            "tests/events/chat.json",
            "tests/test_chat.py",
        }

    @pytest.mark.parametrize("name", [*new.ENGINE_FILES, new.EXAMPLE_EVENT])
    def test_the_engines_files_are_those_of_this_repository(self, project: Path, name: str) -> None:
        assert (project / name).read_bytes() == (ROOT / name).read_bytes()

    def test_is_named_after_its_folder(self, project: Path) -> None:
        assert tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"] == "harbour-desk"
        assert 'title="Harbour Desk"' in (project / "functions/chat/app.py").read_text()
        assert not [name for name in files(project) if "my-chat" in (project / name).read_text().lower()]

    @pytest.mark.parametrize(
        ("folder", "name", "title"),
        [
            ("my-shop_2", "my-shop-2", "My shop 2"),
            ("Müllers Café", "m-llers-caf", "Müllers Café"),
            ("3 boats", "3-boats", "3 boats"),
            ("日本", "my-chat", "日本"),
            ("a+b,c{d}", "a-b-c-d", "A b c d"),
        ],
    )
    def test_may_have_a_folder_of_any_name(
        self, wheels: Path, tmp_path: Path, folder: str, name: str, title: str
    ) -> None:
        new.create(tmp_path / folder, str(wheels))
        assert tomllib.loads((tmp_path / folder / "pyproject.toml").read_text())["project"]["name"] == name
        app = ast.parse((tmp_path / folder / "functions/chat/app.py").read_text())
        assert title in [node.value for node in ast.walk(app) if isinstance(node, ast.Constant)]

    @pytest.mark.parametrize("odd", ['"', "'", "$", "`", "\\"])
    def test_is_not_made_where_make_cannot_work(self, wheels: Path, tmp_path: Path, odd: str) -> None:
        with pytest.raises(OSError, match=r"^make cannot work with the "):
            new.create(tmp_path / f"a{odd}b", str(wheels))
        assert not (tmp_path / f"a{odd}b").exists()

    def test_requires_the_wheel_by_its_hash(self, project: Path) -> None:
        digest = hashlib.sha256(b"the wheel").hexdigest()
        line = f"winterbourne[chat,local]=={__version__} --hash=sha256:{digest}\n"
        assert (project / "requirements.txt").read_text() == line

    def test_ignores_what_holds_on_this_machine_alone(self, project: Path) -> None:
        assert {"/local.mk", "/winterbourne-verify.*"} <= {*(project / ".gitignore").read_text().splitlines()}

    def test_has_a_handler_of_25_lines_at_most(self, project: Path) -> None:
        assert len((project / "functions/chat/app.py").read_text().splitlines()) <= 25

    @pytest.mark.slow
    def test_its_own_tests_pass_and_its_types_are_right(self, project: Path) -> None:
        where = os.pathsep.join([str(project / "functions"), str(ROOT / "layers/winterbourne/python")])
        environ = {**os.environ, "PYTHONPATH": where, "MYPYPATH": where}
        types = ["mypy", "--strict", "--explicit-package-bases", "functions", "tests"]
        for command in (["pytest", "-q", "-p", "no:cacheprovider"], types):
            done = subprocess.run(
                [sys.executable, "-m", *command], cwd=project, env=environ, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr

    def test_compiled_files_beside_its_own_are_not_copied(
        self, tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.copytree(new.FILES, tmp_path / "files")
        (tmp_path / "files/tests/__pycache__").mkdir(exist_ok=True)
        (tmp_path / "files/tests/__pycache__/test_chat.cpython-313.pyc").write_bytes(b"\xff")
        monkeypatch.setattr(new, "FILES", tmp_path / "files")
        new.create(tmp_path / "chat", str(wheels))
        assert not [name for name in files(tmp_path / "chat") if "__pycache__" in name]


class TestDoor:
    @pytest.fixture(params=new.DOORS)
    def door(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def behind(self, tmp_path: Path, wheels: Path, door: str) -> Path:
        """A project with this door."""
        assert cli.main(["new", str(tmp_path / "desk"), "--wheels", str(wheels), "--door", door]) == 0
        return tmp_path / "desk"

    def test_is_a_function_url_unless_another_is_named(self, project: Path) -> None:
        assert (project / "template.yaml").read_bytes() == template_of("url").read_bytes()
        assert not (project / "cloudfront.yaml").exists()

    def test_has_its_template_and_no_other_files_of_its_own(self, project: Path, behind: Path, door: str) -> None:
        own = {"cloudfront": "cloudfront.yaml"}.get(door, "template.yaml")
        assert (behind / own).read_bytes() == template_of(door).read_bytes()
        assert files(behind) - files(project) == {own} - {"template.yaml"}

    def test_is_kept_by_the_patch_to_a_newer_version(self, behind: Path) -> None:
        assert new.diff(behind) == ""
        template = (behind / "template.yaml").read_text()
        (behind / "template.yaml").write_text(template.replace(f"Version: {__version__}", "Version: 0.0.9"))
        assert new.diff(behind).count("\n@@ ") == 1

    def test_is_exchanged_by_the_patch_if_another_is_named(
        self, project: Path, behind: Path, door: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["new", "--diff", str(project), "--door", door]) == int(door != "url")
        if patch := capsys.readouterr().out:
            subprocess.run(["git", "apply"], cwd=project, input=patch, text=True, check=True)
        for name in new.engine_files(door):
            assert (project / name).read_bytes() == (behind / name).read_bytes()

    def test_that_is_none_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match=r"^2$"):
            cli.main(["new", "chat", "--door", "alb"])
        assert "'url', 'cloudfront', 'rest'" in capsys.readouterr().err


class TestCommand:
    def test_says_what_to_do_next(self, tmp_path: Path, wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["new", str(tmp_path / "chat"), "--wheels", str(wheels)]) == 0
        assert f"  cd {tmp_path / 'chat'}\n  make run\n" in capsys.readouterr().out

    def test_takes_an_empty_folder(self, tmp_path: Path, wheels: Path) -> None:
        (tmp_path / "chat").mkdir()
        assert cli.main(["new", str(tmp_path / "chat"), "--wheels", str(wheels)]) == 0

    def test_refuses_a_folder_with_something_in_it_and_leaves_it_alone(
        self, tmp_path: Path, wheels: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["new", str(tmp_path), "--wheels", str(wheels)]) == 2
        assert (
            capsys.readouterr().err
            == f"winterbourne new: {tmp_path} is not empty: name a new folder, or an empty one\n"
        )
        assert files(tmp_path) == {f"wheels/{WHEEL}"}

    def test_needs_a_folder(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match=r"^2$"):
            cli.main(["new"])
        assert capsys.readouterr().err.endswith("name the folder to write, such as my-chat\n")


class TestWheel:
    def remembered(self, project: Path) -> str:
        """The folder as make reads it."""
        (project / "show.mk").write_text("include local.mk\nshow:\n\t@printf '%s' '$(WINTERBOURNE_WHEELS)'\n")
        done = subprocess.run(
            ["make", "--no-print-directory", "-f", "show.mk"], cwd=project, capture_output=True, text=True, check=True
        )
        return done.stdout

    def test_its_folder_is_remembered_for_make(self, project: Path, wheels: Path) -> None:
        assert self.remembered(project) == str(wheels)

    @pytest.mark.parametrize("name", ["a folder", "a#b"])
    def test_so_is_a_folder_whose_name_means_something_to_make(self, tmp_path: Path, wheels: Path, name: str) -> None:
        new.create(tmp_path / "chat", str(wheels.rename(tmp_path / name)))
        assert self.remembered(tmp_path / "chat") == str(tmp_path / name)

    def test_the_folder_may_be_in_the_environment(
        self, tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WINTERBOURNE_WHEELS", str(wheels))
        assert cli.main(["new", str(tmp_path / "chat")]) == 0

    def test_is_looked_for_where_the_installed_one_came_from(
        self, tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = wheels.rename(tmp_path / "with a space")
        installed = tmp_path / "site-packages/winterbourne-9.dist-info"
        installed.mkdir(parents=True)
        (installed / "METADATA").write_text("Name: winterbourne\nVersion: 9\n")
        (installed / "direct_url.json").write_text(json.dumps({"url": (found / WHEEL).as_uri(), "archive_info": {}}))
        monkeypatch.syspath_prepend(installed.parent)
        new.create(tmp_path / "chat")
        assert self.remembered(tmp_path / "chat") == str(found)

    @pytest.mark.parametrize("origin", [None, "", '{"url": "https://example.com/winterbourne.whl"}'])
    def test_that_is_nowhere_is_an_error_that_says_what_to_do(
        self, tmp_path: Path, origin: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def distribution(_name: str) -> metadata.PathDistribution:
            if origin is None:
                raise metadata.PackageNotFoundError
            (tmp_path / "direct_url.json").write_text(origin)
            return metadata.PathDistribution(tmp_path)

        monkeypatch.setattr(metadata, "distribution", distribution)
        assert cli.main(["new", str(tmp_path / "chat")]) == 2
        said = f"where {WHEEL} lies is not known; name its folder: winterbourne new DIR --wheels FOLDER"
        assert capsys.readouterr().err == f"winterbourne new: {said}\n"
        assert not (tmp_path / "chat").exists()

    def test_that_is_not_in_the_named_folder_is_an_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["new", str(tmp_path / "chat"), "--wheels", str(tmp_path)]) == 2
        assert f"{WHEEL} is not in {tmp_path}; name its folder: " in capsys.readouterr().err


class TestDiff:
    @pytest.fixture
    def older(self, project: Path) -> Path:
        """A project as another version wrote it, with a line of the user's own in it."""
        template = (project / "template.yaml").read_text()
        (project / "template.yaml").write_text(template.replace(f"Version: {__version__}", "Version: 0.0.9"))
        (project / "functions/Makefile").write_text("all: # without an end")
        (project / "layers/arm64/.keep").unlink()
        (project / "samconfig.toml").write_text(
            (project / "samconfig.toml").read_text().replace("winterbourne-dev", "harbour")
        )
        return project

    def test_of_a_new_project_is_empty_and_succeeds(self, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["new", "--diff", str(project)]) == 0
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("command", [["git", "apply"], ["patch", "-p1", "--quiet"]])
    def test_is_a_patch_that_leads_to_the_files_of_this_version(
        self, older: Path, command: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["new", "--diff", str(older)]) == 1
        subprocess.run(command, cwd=older, input=capsys.readouterr().out, text=True, check=True)
        assert {name: (older / name).read_bytes() for name in new.ENGINE_FILES} == {
            name: (ROOT / name).read_bytes() for name in new.ENGINE_FILES
        }

    def test_names_both_versions_on_top(self, older: Path) -> None:
        assert new.diff(older).startswith(f"# From winterbourne 0.0.9 to {__version__}\n--- ")

    def test_of_a_template_without_a_version_says_so(self, older: Path) -> None:
        shutil.copy(ROOT / "tests/fixtures/templates/0.1.0-before-new.yaml", older / "template.yaml")
        assert new.diff(older).startswith(f"# From winterbourne (no version recorded) to {__version__}\n")

    def test_never_touches_what_is_the_users(self, project: Path) -> None:
        for name in files(project) - set(new.ENGINE_FILES):
            (project / name).write_text("mine")
        assert new.diff(project) == ""

    def test_is_of_the_current_folder_by_default(
        self, older: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(older)
        assert cli.main(["new", "--diff"]) == 1
        assert "--- a/template.yaml\n" in capsys.readouterr().out

    def test_of_a_folder_that_is_no_project_is_an_error(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["new", "--diff", str(tmp_path)]) == 2
        said = f"winterbourne new: {tmp_path} is no project of winterbourne: it has no template.yaml\n"
        assert capsys.readouterr().err == said
