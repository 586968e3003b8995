"""Command line parser of `winterbourne run`: defaults, flags, and messages for invalid values."""

from pathlib import Path

import pytest

from tests.stack import ROOT
from winterbourne.local.command_line import parse


class TestWithoutFlags:
    def test_the_chat_is_served_where_make_run_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(ROOT)
        arguments = parse([])
        assert (arguments.host, arguments.port, arguments.handler, arguments.concurrency) == (
            "127.0.0.1",
            3000,
            "chat.app.handler",
            4,
        )
        assert arguments.task_root == ROOT / "functions"
        assert (arguments.burst, arguments.rate, arguments.limit) == (6 * 2**20, 2 * 2**20, 200 * 2**20)
        assert not any((arguments.no_practice, arguments.no_freeze, arguments.managed_instances))


class TestFlags:
    def test_serve_any_function(self, tmp_path: Path) -> None:
        arguments = parse(["--task-root", str(tmp_path), "--handler", "app.handler", "--env", "A=b=c", "--env", "D="])
        assert (arguments.task_root, arguments.handler) == (tmp_path, "app.handler")
        assert arguments.env == [("A", "b=c"), ("D", "")]

    @pytest.mark.parametrize(
        ("flags", "reason"),
        [
            (["--port", "70000"], "70000 is not a port number"),
            (["--port", "x"], "x is not a port number"),
            (["--concurrency", "0"], "0 is not a positive integer"),
            (["--concurrency", "many"], "many is not a positive integer"),
            (["--timeout", "0"], "0 is not a positive number"),
            (["--rate", "-1"], "-1 is not 0 or a positive number"),
            (["--rate", "nan"], "nan is not 0 or a positive number"),
            (["--task-root", "/no/such/folder"], "/no/such/folder is not a directory"),
            (["--env", "A"], "'A' is not KEY=VALUE"),
        ],
    )
    def test_with_invalid_values_are_rejected_in_one_sentence(
        self, flags: list[str], reason: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as exit_:
            parse(flags)
        assert exit_.value.code == 2
        assert reason in capsys.readouterr().err

    def test_are_all_explained(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parse(["--help"])
        text = capsys.readouterr().out
        assert "Managed Instances" in text
        assert "examples:" in text
