"""Every command on every page is run, or checked as far as it can be where it needs AWS.

A command is one of these, and a page that has any other fails:

- run by another test (`ELSEWHERE`, `FOLLOWED`), or a long stage that `.ci/run` calls (`STAGES`)
- marked as needing AWS: its target, stage, parameters, settings, operations and options exist
- a server: it is started on a free port, has to serve, and is ended with Ctrl-C
- one that takes long, of which a part is run
- a request: it is sent to a running chat, has to succeed, and to end with a terminal frame
- anything else has to end with status 0
"""

import contextlib
import itertools
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import botocore.session
import httpx
import pytest
from botocore import xform_name
from samcli.cli.types import CfnParameterOverridesType

from tests.doc_pages import PAGES, ROOT, Block, Command, blocks, commands, read
from tests.new_user import NOT_SOURCE
from tests.stack import source, template_of
from winterbourne.chat.settings import VARIABLES, Settings
from winterbourne.chat.settings_variable import unpack_settings
from winterbourne.local.cli import COMMANDS, main
from winterbourne.local.new import DOORS
from winterbourne.local.verify import command as verify

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STAGES: Final = {"test", "test-clients", "test-doors", "test-pythons", "test-successor", "coverage", "soak", "check"}
"""Targets that take long, and that `.ci/run` calls."""

FOLLOWED: Final = {"docs/tutorial.md": "tests/end_to_end/test_tutorial.py"}
"""Pages whose blocks another test follows to the letter."""

_PROJECT: Final = "layers/winterbourne/python/winterbourne/local/files/project/README.md"
_IN_A_PROJECT: Final = "tests/end_to_end/test_without_make.py"

_UPGRADE: Final = "tests/end_to_end/test_upgrade.py::test_leaves_the_users_files_alone_and_the_chat_working"
_INVOKE: Final = "tests/end_to_end/test_sam_local.py::test_shows_the_answer_as_curl_would"
_PYTHON: Final = "tests/project/test_makefile.py::test_an_unfit_venv_is_made_anew_and_a_fit_one_is_kept"
_RELEASE: Final = "tests/project/test_release.py::test_its_commands_leave_everything_as_the_next_version_needs_it"
ELSEWHERE: Final = {
    r"make build": (_UPGRADE, "make build"),
    r"make upgrade": (_UPGRADE, "make upgrade"),
    r"\.venv/bin/winterbourne new --diff": (_UPGRADE, ".venv/bin/winterbourne new --diff"),
    r"\.venv/bin/winterbourne new --diff \| git apply": ("tests/local/test_new.py::test_is_a_patch", '"apply"'),
    r"\.venv/bin/winterbourne new --diff --door \w+ \| git apply": (
        "tests/local/test_new.py::test_is_exchanged_by_the_patch_if_another_is_named",
        '"apply"',
    ),
    r"make lock( UPGRADE=)?": ("tests/end_to_end/test_locks.py::test_make_lock_makes_these_very_files", '"lock"'),
    r"make invoke( EVENT=tests/events/\w+\.json)?": (_INVOKE, '"invoke", "EVENT=tests/events/'),
    r"checkov --framework cloudformation .*": (
        "tests/project/test_checkov.py::test_the_command_of_the_page_leaves_nothing_of_a_projects_template",
        '"--skip-check"',
    ),
    r"make prices": ("tests/contract/clients/test_prices.py::test_the_table_is_what_the_script_makes", "read_list"),
    r"make (run|install|test) PYTHON=\S+": (_PYTHON, "PYTHON="),
    r"\.venv/bin/python -m tests\.release (date|next 0\.2\.0)": (_RELEASE, "COMMANDS"),
    r'make run PORT=3001 ARGS="--handler tool_worker.app.handler --invoke-port 3002 .*"': (
        "tests/end_to_end/test_elsewhere.py::test_a_tool_runs_in_another_function_and_its_result_comes_back",
        '"--handler", "tool_worker.app.handler", "--invoke-port"',
    ),
    r"MODEL_PROVIDER=pier .* make run": (
        "tests/end_to_end/test_extending.py::test_a_chat_answers_through_all_four_and_knows_what_was_said_before",
        '"how-to/extend.md"',
    ),
}
"""Patterns of commands that another test runs, each with that test and what is to be found in its file."""

UNTESTED: Final = {"docker run -p 8080:8080", "docker build --platform linux/arm64", "docker build --tag chat"}
"""How the commands begin that need Docker and images from the internet, and that nobody runs here."""

PLACEHOLDERS: Final = {
    "…": "made-up",
    "CONVERSATION-ID": "c_1",
    "KEY'": "made-up-key'",
    "https://ISSUER": "https://issuer.invalid",
}
ENVIRONMENT: Final = {
    "AWS_ACCESS_KEY_ID": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "AWS_SESSION_TOKEN": "made-up",
}
ARN: Final = "arn:aws:secretsmanager:us-east-1:123456789012:secret:made-up"
ARNS: Final = {
    "CloudFrontDistributionArn": "arn:aws:cloudfront::123456789012:distribution/made-up",
    "CertificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/made-up",
    "WebAclArn": "arn:aws:wafv2:us-east-1:123456789012:regional/webacl/made-up/1",
}

# Of the AWS command line's own, which botocore's models do not have.
_AWS_GLOBAL: Final = {"query", "output", "region", "profile"}
_AWS_OWN: Final = {
    ("cloudformation", "deploy"): {"stack_name", "template_file", "parameter_overrides", "capabilities"},
    ("lambda", "publish-layer-version"): {"layer_name", "zip_file"},
}

DOOR_PATHS: Final = {"rest": "/v1/", "agentcore": "/ping"}
"""What is asked where `/` is not the chat's page."""

_SERVES: Final = re.compile(r"\bmake run\b|\bwinterbourne run\b|-m winterbourne\.local (run\b|--)")
_AWS: Final = re.compile(r"aws |make (deploy|verify)\b|make doctor STACK=")
_BENCH: Final = re.compile(r"make bench\b|\.venv/bin/python -m tests\.bench\b")
_RECORDED: Final = ".venv/bin/python -m tests.recorded"


# The commands of all pages.


def every_command() -> dict[str, list[Command]]:
    """The commands by their text: one that is on several pages is run once."""
    found: dict[str, list[Command]] = {}
    for command in (command for page in PAGES for command in commands(page)):
        if command.is_inline or command.page not in FOLLOWED:
            found.setdefault(command.text, []).append(command)
    return found


def is_name(command: Command) -> bool:
    """A span that names a command of `winterbourne` and flags of it, without what they need to run."""
    return command.is_inline and re.fullmatch(r"winterbourne [a-z]+( --[a-z-]+)*", command.text) is not None


def is_bare(block: Block) -> bool:
    """A block that makes its own environment."""
    return block.language == "sh" and "-m venv" in block.text and block.page not in FOLLOWED


_BARE: Final = {block.text: block for page in PAGES for block in blocks(page) if is_bare(block)}
BARE: Final = [block for block in _BARE.values() if block.page != _PROJECT]
ALL: Final = every_command()
_OF_BARE: Final = {text for block in _BARE.values() for text in block.text.splitlines()}
NAMED: Final = [c[0] for c in ALL.values() if is_name(c[0])]
THEIRS: Final = {text: pattern for text in ALL for pattern in ELSEWHERE if re.fullmatch(pattern, text)}
OURS: Final = [c[0] for text, c in ALL.items() if text not in THEIRS and text not in _OF_BARE and not is_name(c[0])]
NEED_AWS: Final = [c for c in OURS if c.needs == "AWS" or _AWS.match(c.text)]
NEED_DOCKER: Final = [c for c in OURS if c.needs == "Docker"]
LONG: Final = [c for c in OURS if (target := re.match(r"make ([a-z-]+)", c.text)) and target[1] in STAGES]
BENCHES: Final = [c for c in OURS if _BENCH.match(c.text)]
RECORDINGS: Final = [c for c in OURS if c.text.startswith(_RECORDED)]
REQUESTS: Final = [c for c in OURS if c.text.startswith("curl ")]
CLEANING: Final = [c for c in OURS if c.text == "make clean"]
_SORTED: Final = {c.text for c in (*NEED_AWS, *NEED_DOCKER, *LONG, *BENCHES, *RECORDINGS, *REQUESTS, *CLEANING)}
SERVERS: Final = [c for c in OURS if c.text not in _SORTED and _SERVES.search(c.text)]
OTHERS: Final = [c for c in OURS if c.text not in _SORTED and not _SERVES.search(c.text)]


def by_page(found: list[Command]) -> list[str]:
    return sorted({command.page for command in found})


# Where they are run.


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this repository, with a `.venv` in which everything is installed."""
    folder = tmp_path_factory.mktemp("reader") / "winterbourne"
    copy_sources(folder)
    venv = folder / ".venv"
    shutil.copytree(
        sys.prefix, venv, symlinks=True, copy_function=link_or_copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    activate = venv / "bin" / "activate"
    text = activate.read_text().replace(sys.prefix, str(venv))
    activate.unlink()  # the two files that name a folder must not be the same ones
    activate.write_text(text)
    for link in venv.glob("lib/python3.*/site-packages/winterbourne.pth"):
        link.unlink()
        link.write_text(f"{folder / 'layers/winterbourne/python'}\n")
    script = venv / "bin" / "winterbourne"  # which an installed wheel brings
    script.unlink(missing_ok=True)
    script.write_text(f"#!{venv / 'bin/python'}\nfrom winterbourne.local.cli import main\n\nraise SystemExit(main())\n")
    script.chmod(0o755)
    for stamp in ("engine", "uv", "dev", "run"):
        (venv / stamp).unlink(missing_ok=True)
        (venv / stamp).touch()
    return folder


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # on another file system
        shutil.copy2(source, target)


def copy_sources(folder: Path) -> None:
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_SOURCE, "__pycache__", "tests/artifacts"))


def environment(**more: str) -> dict[str, str]:
    ours = {"PYTHONPATH", "VIRTUAL_ENV", "PYTEST_ADDOPTS", "MAKEFLAGS", "MAKELEVEL", "WINTERBOURNE_WHEELS", "PYTHON"}
    inherited = {name: value for name, value in os.environ.items() if name not in ours and name not in VARIABLES}
    path = f"{sys.base_prefix}/bin:{inherited['PATH']}"
    return {**inherited, **ENVIRONMENT, "PATH": path, **more}


def filled_in(text: str, url: str = "") -> str:
    """The command with something in place of what only its reader knows."""
    text = re.sub(r"^winterbourne\b", ".venv/bin/winterbourne", text)
    text = re.sub(r"https://YOUR-URL|(http://)?(127\.0\.0\.1|localhost):3000", url, text) if url else text
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return text


def run(text: str, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}"
    return done.stdout


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def serve(text: str, folder: Path) -> None:
    """Start a server, ask it for something, and end it as a reader does."""
    port = free_port()
    text = re.sub(r"\bPORT=\d+", f"PORT={port}", filled_in(text))
    text = re.sub(r"--invoke-port \d+", f"--invoke-port {free_port()}", text)
    text = text if "make run" in text else f"{text} --port {port}"
    with (folder / "screen.log").open("wb") as screen:
        process = subprocess.Popen(
            ["bash", "-euc", text],
            cwd=folder,
            env=environment(PORT=str(port)),
            stdout=screen,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            assert is_served(f"{port}{path_of_door(text)}", process), f"{text}\n{(folder / 'screen.log').read_text()}"
        finally:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself, as it should not have
                os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=20)


def path_of_door(text: str) -> str:
    return next((path for door, path in DOOR_PATHS.items() if f"--door {door}" in text), "/")


def is_served(where: str, process: "subprocess.Popen[bytes]") -> bool:
    while process.poll() is None:
        try:
            return httpx.get(f"http://127.0.0.1:{where}", timeout=20).is_success
        except httpx.TransportError:
            time.sleep(0.05)
    return False


# Each kind.


@pytest.mark.parametrize("page", by_page(SERVERS))
def test_a_server_serves_and_ends(page: str, checkout: Path) -> None:
    for command in SERVERS:
        if command.page == page:
            serve(command.text, checkout)


@pytest.mark.parametrize("page", by_page(OTHERS))
def test_a_command_succeeds(page: str, checkout: Path, chat: str) -> None:
    folder = checkout / "layers/winterbourne" if page == "layers/winterbourne/README.md" else checkout
    for command in OTHERS:
        if command.page == page:
            run(filled_in(command.text, chat), folder, PORT=chat.rpartition(":")[2])


@pytest.mark.parametrize("command", [c for c in (*REQUESTS, *NEED_AWS) if c.text.startswith("curl ")], ids=str)
def test_a_request_is_answered_to_its_end(command: Command, checkout: Path, chat: str) -> None:
    assert set(re.findall(r"https?://[^/'\" ]+", filled_in(command.text, chat))) == {chat}, (
        "to the chat, and no further"
    )
    text = filled_in(command.text, chat).replace("curl ", "curl --fail-with-body --silent --show-error ", 1)
    answer = run(text, checkout)
    if '"messages"' in command.text:
        assert answer.rstrip().splitlines()[-1].startswith('data: {"type":"done"')


@pytest.mark.doors
@pytest.mark.parametrize("block", BARE, ids=lambda block: f"{block.page}:{block.line}")
def test_a_block_that_begins_with_nothing_ends_with_a_server(block: Block, tmp_path: Path) -> None:
    folder = tmp_path / "winterbourne"
    if block.page == "layers/winterbourne/README.md":
        shutil.copytree(ROOT / "layers/winterbourne", folder, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        copy_sources(folder)
    *before, last = block.text.splitlines()
    run("\n".join(before), folder)
    serve(last, folder)


def test_a_part_of_the_bench_is_run(checkout: Path) -> None:
    parts = {part for command in BENCHES for part in re.sub(r".*(bench\b|ARGS=)", "", command.text).split()}
    parts -= {"--readme"}  # which writes what it prints
    assert [part for part in parts if not (ROOT / f"tests/bench/bench_{part}.py").exists()] == []
    done = subprocess.run(
        ["make", "bench", "ARGS=frames"], cwd=checkout, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 or "MISSED: " in done.stdout  # which a busy machine may bring about
    assert re.findall(r"^(\w+)$", done.stdout, re.MULTILINE) == ["frames"]


def test_a_part_is_recorded_anew(checkout: Path) -> None:
    """The other parts take a minute, and what they write is compared in tests/recorded."""
    assert {command.text for command in RECORDINGS} == {_RECORDED}
    file = checkout / "tests/recorded/public_names.json"
    recorded = file.read_bytes()
    file.unlink()
    run(f"{_RECORDED} names", checkout)
    assert file.read_bytes() == recorded


@pytest.mark.parametrize("command", LONG, ids=str)
def test_a_long_stage_is_run_by_ci(command: Command) -> None:
    stage = re.escape(command.text.removeprefix("make "))
    assert re.search(rf"\bmake (\S+=\S+ )*{stage}(?![\w-])", read(".ci/run")), f"CI does not run {command}"


@pytest.mark.parametrize("command", THEIRS)
def test_what_another_test_runs_is_in_it(command: str) -> None:
    test, needle = ELSEWHERE[THEIRS[command]]
    file, _, name = test.partition("::")
    assert f"def {name}" in read(file)
    assert needle in read(file)


def test_no_test_is_said_to_run_what_no_page_has() -> None:
    assert set(THEIRS.values()) == set(ELSEWHERE)


@pytest.mark.parametrize("page", FOLLOWED)
def test_a_page_that_another_test_follows_is_read_by_it(page: str) -> None:
    assert f'"{page}"' in read(FOLLOWED[page])


def test_a_block_in_a_projects_page_that_begins_with_nothing_is_run_by_another_test() -> None:
    if any(block.page == _PROJECT for block in _BARE.values()):
        assert "README.md" in read(_IN_A_PROJECT)


@pytest.mark.parametrize("command", CLEANING, ids=str)
def test_what_was_made_is_removed(command: Command, tmp_path: Path) -> None:
    copy_sources(tmp_path / "winterbourne")
    (tmp_path / "winterbourne/.aws-sam").mkdir()
    run(command.text, tmp_path / "winterbourne")
    assert not (tmp_path / "winterbourne/.aws-sam").exists()


@pytest.mark.parametrize("command", NAMED, ids=str)
def test_a_command_that_is_named_exists(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    _, name, *flags = command.text.split()
    assert name in COMMANDS
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert set(flags) <= set(re.findall(r"--[\w-]+", capsys.readouterr().out))


def test_a_command_is_run_as_it_is_typed() -> None:
    """Each line is run by itself, and its status counts: no line may count on another one, or hide a failure."""
    own_shell = r"(cd|export|source|\.|alias|unset|if|for|while) (?!.*&&).*|\w+=\S*"
    hidden = r".*(\|\||<<|[^&]& *$|; *true\b).*"
    assert [str(command) for command in OURS if re.fullmatch(f"{own_shell}|{hidden}", command.text)] == []


def test_what_needs_docker_and_cannot_be_run_here_is_little() -> None:
    assert [c for c in NEED_DOCKER if not any(c.text.startswith(beginning) for beginning in UNTESTED)] == []


# What needs AWS.


def words(command: Command) -> Iterator[list[str]]:
    """The words of each command of a line."""
    for part in command.text.split(" && "):
        yield shlex.split(part, comments=True)


@pytest.mark.parametrize("command", NEED_AWS, ids=str)
def test_what_needs_aws_is_right_as_far_as_can_be_seen(command: Command) -> None:
    for program, *rest in words(command):
        match program:
            case "make":
                check_make(rest)
            case "aws":
                check_aws(*rest)
            case ".venv/bin/sam":
                sam = Path(sys.executable).with_name("sam")
                named = itertools.takewhile(lambda word: not word.startswith("-"), rest)
                output = subprocess.run([sam, *named, "--help"], capture_output=True, text=True, check=True)
                assert {word for word in rest if word.startswith("--")} <= set(re.findall(r"--[\w-]+", output.stdout))
            case "git":
                assert rest[0] == "checkout"
            case _:
                assert program == "curl"  # which is sent to a local chat above


@pytest.mark.parametrize("page", PAGES)
def test_a_block_says_what_needs_aws(page: str) -> None:
    unmarked = [str(c) for c in commands(page) if not c.is_inline and _AWS.match(c.text) and c.needs != "AWS"]
    assert unmarked == []


def check_make(rest: list[str]) -> None:
    target, *variables = rest
    assert target in {"deploy", "doctor", "verify"}
    given = dict(word.split("=", 1) for word in variables)
    assert set(given) <= {"STAGE", "PARAMETERS", "STACK", "REGION", "URL", "ARGS"}
    assert given.get("STAGE", "dev") in tomllib.loads(read("samconfig.toml"))
    if "PARAMETERS" in given:
        check_parameters(given["PARAMETERS"])
    if target == "verify":
        verify._parse(shlex.split(given.get("ARGS", "")))  # which ends where a flag does not exist


def check_parameters(text: str) -> None:
    """The parameters as sam reads them: each exists and its value is allowed, and so is each of the settings."""
    declared = {n: p for door in DOORS for n, p in source(template_of(door))["Parameters"].items()}
    given: dict[str, str] = CfnParameterOverridesType().convert((text,), None, None)
    assert {*re.findall(r"(?:^|\s)(\w+)=", text)} <= given.keys()  # sam drops what it cannot read, without a word
    for name, typed in given.items():
        value = ARNS.get(name, ARN) if typed == "ARN" else filled_in(typed)
        assert re.fullmatch(declared[name].get("AllowedPattern", ".*"), value), name
        assert value in map(str, declared[name].get("AllowedValues", [value]))
    environ = {"SETTINGS": given.get("Settings", "")}
    unpack_settings(environ)
    Settings.from_environment(environ)
    assert [n for n in environ if n != "SETTINGS" and n not in VARIABLES and not n.endswith("_KEY_SECRET_ARN")] == []


def check_aws(service: str, operation: str, *rest: str) -> None:
    """The service, its operation and the operation's parameters, as botocore's models have them."""
    options = {word[2:].replace("-", "_") for word in rest if word.startswith("--")} - _AWS_GLOBAL
    if (service, operation) in _AWS_OWN:
        assert options <= _AWS_OWN[service, operation]
        return
    model = botocore.session.get_session().get_service_model(service)
    (found,) = (name for name in model.operation_names if xform_name(name, "-") == operation)
    shape = model.operation_model(found).input_shape
    members = {xform_name(name) for name in (shape.members if shape else ())}
    assert [name for name in options if name not in members and name.removeprefix("no_") not in members] == []
