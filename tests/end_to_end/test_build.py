"""`sam build` for either processor: the artifacts contain what belongs in them and nothing else."""

import hashlib
import importlib.metadata
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import certifi
import httpx
import pytest

from tests import requirements
from tests.artifact import ARCHITECTURES, MACHINE, ROOT, Artifact, built, sam
from tests.local_server import local_server
from tests.stack import template_of
from winterbourne import __version__
from winterbourne.local.layer import LOCKS, ROOTS
from winterbourne.local.new import DOORS

pytestmark = [pytest.mark.slow, pytest.mark.doors]

# e_machine of an ELF header. https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
MACHINES = {"arm64": 183, "x86_64": 62}


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def artifact(run: Path, architecture: str) -> Artifact:
    return built(run, architecture)


def files(folder: Path) -> dict[str, Path]:
    """All files but compiled modules, which are there only where a build found Lambda's own Python."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path for name, path in found.items() if not is_compiled(path)}


def is_compiled(path: Path) -> bool:
    source = path.parent.parent / path.name.replace(".cpython-314.pyc", ".py")
    return path.parent.name == "__pycache__" and path.name.endswith(".cpython-314.pyc") and source.exists()


def tracked(folder: Path, beside: Path) -> set[str]:
    """Our own files that belong in an artifact: everything in the tree but caches and editor files."""
    unwanted = re.compile(r"(^|/)(__pycache__|\.[^/]+)(/|$)")
    return {
        name
        for p, name in ((p, str(p.relative_to(beside))) for p in folder.rglob("*"))
        if p.is_file() and not unwanted.search(name)
    }


class TestContents:
    def test_the_function_is_its_own_code_alone(self, artifact: Artifact) -> None:
        assert set(files(artifact.function)) == tracked(ROOT / "functions/chat", ROOT / "functions")

    def test_the_tool_worker_is_its_own_code_alone(self, artifact: Artifact) -> None:
        assert set(files(artifact.tool_worker)) == tracked(ROOT / "functions/tool_worker", ROOT / "functions")

    def test_the_engine_layer_is_the_wrapper_the_package_without_its_commands_and_its_locked_packages(
        self, artifact: Artifact
    ) -> None:
        names = set(files(artifact.engine_layer))
        source = ROOT / "layers/winterbourne"
        ours = {"winterbourne"} | tracked(source / "python/winterbourne", source)
        ours = {name for name in ours if not re.search(r"^python/winterbourne/local/|\.pyi$", name)}
        found = {name for name in names if re.match("(python/)?winterbourne(/|$)", name)}
        roots = {name for name in found if name.startswith(f"python/{ROOTS}/")}
        assert ours == found - roots
        assert len(roots) == Path(certifi.where()).read_text().count("BEGIN CERTIFICATE")

    def test_the_packages_of_the_engine_layer_are_those_of_its_lock(self, artifact: Artifact) -> None:
        lock = (LOCKS / "chat.txt").read_text()
        locked = dict(re.findall(r"^([\w-]+)==([\w.]+)", lock, re.MULTILINE))
        assert installed(artifact.engine_layer) == {**locked, "winterbourne": __version__}

    def test_the_users_packages_are_those_of_their_lock_beyond_the_engines(self, artifact: Artifact) -> None:
        lock = (ROOT / "layers/dependencies/requirements.txt").read_text()
        locked = dict(re.findall(r"^([\w-]+)==([\w.]+)", lock, re.MULTILINE))
        engines = installed(artifact.engine_layer)
        assert installed(artifact.dependencies) == {n: v for n, v in locked.items() if n not in engines}

    def test_the_wrapper_can_be_executed(self, artifact: Artifact) -> None:
        assert (artifact.engine_layer / "winterbourne").stat().st_mode & 0o777 == 0o755

    def test_caches_commands_stubs_and_metadata_are_left_out(self, artifact: Artifact) -> None:
        unwanted = re.compile(r"(^|/)(__pycache__|bin|\.[^/]*)/|\.(py[cio]|[ch]|pxd)$|/(RECORD|INSTALLER|WHEEL)$")
        assert [name for name in files(artifact.folder) if unwanted.search(name)] == []

    def test_boto3_is_left_to_the_runtime(self, artifact: Artifact) -> None:
        assert not [name for name in files(artifact.folder) if re.search(r"/(boto3|botocore|s3transfer)/", name)]

    def test_every_shared_object_is_for_the_processor_asked_for(self, artifact: Artifact, architecture: str) -> None:
        objects = {name: p for name, p in files(artifact.folder).items() if ".so" in Path(name).suffixes}
        assert len(objects) >= 4
        assert {name: elf_machine(p) for name, p in objects.items()} == dict.fromkeys(objects, MACHINES[architecture])

    def test_function_and_layers_are_under_40_mb_unzipped(self, artifact: Artifact) -> None:
        layers = [artifact.engine_layer, artifact.dependencies]
        for function in (artifact.function, artifact.tool_worker):
            assert sum(p.stat().st_size for part in (function, *layers) for p in files(part).values()) < 45_000_000


def installed(layer: Path) -> dict[str, str]:
    """Name and version of each distribution, normalized as in the lock files."""
    found = importlib.metadata.distributions(path=[str(layer / "python")])
    return {each.name.lower().replace("_", "-"): each.version for each in found}


def elf_machine(path: Path) -> int:
    header = path.read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    return int.from_bytes(header[18:20], "little")


def digest(folder: Path) -> dict[str, tuple[str, int, float]]:
    """What decides whether two zip files are the same: content, mode and date of every file."""
    return {
        name: (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mode, p.stat().st_mtime)
        for name, p in files(folder).items()
    }


class TestAgain:
    def test_the_same_sources_give_the_same_artifact(self, run: Path, tmp_path: Path) -> None:
        first = built(run, "arm64")
        second = built(tmp_path, "arm64")
        for one, other in (
            (first.function, second.function),
            (first.tool_worker, second.tool_worker),
            (first.engine_layer, second.engine_layer),
            (first.dependencies, second.dependencies),
        ):
            assert digest(one) == digest(other)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder, python = tmp_path_factory.mktemp("compiled"), Path(requirements.python("3.14"))
    done = sam("build", "--build-dir", str(folder / "built"), path=f"{python.parent}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    return Artifact(folder / "built")


class TestCompiledAhead:
    """If Lambda's own Python version is installed."""

    def test_every_module_is_and_is_believed_whatever_its_date(self, compiled: Artifact) -> None:
        sources = [path for path in compiled.folder.rglob("*.py") if "__pycache__" not in path.parts]
        assert sources
        for source in sources:
            cache = source.parent / "__pycache__" / f"{source.stem}.cpython-314.pyc"
            # PEP 552: bit 0 means hash-based; bit 1 would mean that the hash is checked against the source.
            assert int.from_bytes(cache.read_bytes()[4:8], "little") == 1, source

    def test_function_and_layers_stay_under_45_mb(self, compiled: Artifact) -> None:
        parts = (compiled.function, compiled.engine_layer, compiled.dependencies)
        assert sum(p.stat().st_size for part in parts for p in part.rglob("*") if p.is_file()) < 45_000_000


class TestTheBuiltFunction:
    """Under the engine layer, in a process of its own, with only the paths that Lambda has."""

    @pytest.fixture
    def url(self, run: Path, tmp_path: Path) -> Iterator[str]:
        artifact = built(run, MACHINE)
        flags = ["--task-root", str(artifact.function), "--opt", str(artifact.opt(tmp_path / "opt"))]
        flags += ["--python", requirements.python("3.14"), "--env", "SCRIPTED_WORDS_PER_SECOND=0"]
        with local_server(tmp_path, *flags) as server:
            yield server.url

    def test_streams_a_chat_with_tools(self, url: str) -> None:
        question = json.loads(json.loads((ROOT / "tests/events/tools.json").read_text())["body"])
        with httpx.stream("POST", f"{url}/chat", json=question, timeout=30) as response:
            frames = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        completed = [f["name"] for f in frames if f["type"] == "tool_call" and f["status"] == "completed"]
        assert sorted(completed) == [
            "convert_currency",
            "get_stock_quote",
            "get_stock_quote",
            "get_weather",
            "get_weather",
        ]
        assert "".join(f["delta"] for f in frames if f["type"] == "content")
        assert frames[-1]["type"] == "done"


@pytest.mark.parametrize("door", DOORS)
def test_sam_and_cfn_lint_find_nothing(door: str) -> None:
    done = sam("validate", "--lint", "--template", str(template_of(door)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is a valid SAM Template" in done.stdout


def test_a_rest_apis_stack_has_the_same_artifacts(run: Path, tmp_path: Path) -> None:
    flags = ["--template", str(template_of("rest")), "--base-dir", str(ROOT), "--build-dir", str(tmp_path)]
    done = sam("build", *flags, "--parameter-overrides", f"Architecture={MACHINE}")
    assert done.returncode == 0, done.stderr
    for part in ("function", "tool_worker", "engine_layer", "dependencies"):
        assert digest(getattr(Artifact(tmp_path), part)) == digest(getattr(built(run, MACHINE), part))
