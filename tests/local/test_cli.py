"""The command line `winterbourne`: its commands, help, and a command that is not there."""

import subprocess
import sys
from importlib import import_module

import pytest

from winterbourne import __version__
from winterbourne.local import cli


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_a_main_that_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main([command, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: winterbourne {command} ")
    assert callable(import_module(cli.COMMANDS[command][0]).main)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"]])
def test_help_lists_the_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines() if line.startswith("  ")] == list(cli.COMMANDS)


def test_an_unknown_command_is_an_error_that_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["runn"]) == 2
    assert capsys.readouterr().err.startswith("winterbourne: there is no command 'runn'; there are run, ")


def test_a_package_that_an_extra_brings_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    for name in ("winterbourne.local.doctor.__main__", "winterbourne.chat.http_library"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert cli.main(["doctor"]) == 1
    expected = "winterbourne doctor: httpx is not installed; winterbourne[local] brings it\n"
    assert capsys.readouterr().err == expected


def test_the_doctor_of_a_url_wants_nothing_of_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("boto3", "botocore", "botocore.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("__main__", "on_aws"):
        monkeypatch.delitem(sys.modules, f"winterbourne.local.doctor.{name}", raising=False)
        monkeypatch.delattr(f"winterbourne.local.doctor.{name}", raising=False)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["doctor", "--help"])


@pytest.mark.parametrize(("flag", "told"), [("--help", "usage: winterbourne verify"), ("--list", "first-byte ")])
def test_what_verify_measures_is_told_without_sam(flag: str, told: str) -> None:
    without_sam = "import sys; sys.modules.update(dict.fromkeys(('click', 'samcli', 'samtranslator')))"
    program = f"{without_sam}; from winterbourne.local import cli; sys.exit(cli.main(['verify', '{flag}']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(told)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"winterbourne {__version__}\n"


def test_the_module_without_a_command_is_run() -> None:
    command = [sys.executable, "-m", "winterbourne.local", "--port", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: winterbourne run ")
