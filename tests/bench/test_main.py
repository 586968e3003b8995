"""`make bench`: a missed bar fails it, a figure without one does not."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.bench import __main__ as bench
from tests.bench import readme
from tests.bench.__main__ import main
from tests.bench.figure import Figure
from tests.stack import ROOT

MET = Figure(name="latency", ours="1 ms", bar="at most 2 ms", met=True)
MISSED = Figure(name="throughput", ours="9 MB/s", bar="at least 10 MB/s", met=False)
NOT_MEASURED = Figure(name="memory", ours="unknown", bar="at most 1 MB")
PRINTED = Figure(name="lines", ours="7")


def run(monkeypatch: pytest.MonkeyPatch, *figures: Figure, arguments: tuple[str, ...] = ("start",)) -> bool:
    def measured() -> Iterator[Figure]:
        yield from figures

    monkeypatch.setattr(importlib, "import_module", lambda _: SimpleNamespace(figures=measured))
    return main([*arguments])


def test_bars_that_are_met_and_figures_without_one_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, MET, PRINTED)
    printed = capsys.readouterr().out
    assert "latency: 1 ms; bar at most 2 ms: met" in printed
    assert "lines: 7" in printed
    assert "MISSED" not in printed


@pytest.mark.parametrize("missed", [MISSED, NOT_MEASURED])
def test_a_bar_that_is_missed_or_was_not_measured_fails_and_is_named_at_the_end(
    missed: Figure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not run(monkeypatch, MET, missed, PRINTED)
    assert capsys.readouterr().out.endswith(f"\nMISSED: {missed.name}\n")


@pytest.mark.parametrize("arguments", [["start"], ["start", "--readme"]])
def test_what_is_printed_ends_with_the_table_that_the_readme_gets_if_it_is_asked_for(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"# Title\n\n{readme.HEAD}| **start** | long ago | | | |\n\nEnd.\n")
    monkeypatch.setattr(bench, "README", page)
    run(monkeypatch, MET, PRINTED, arguments=tuple(arguments))
    table = capsys.readouterr().out.rpartition("\n\n")[2]
    assert "\n| latency | 1 ms | | | at most 2 ms: met |\n" in table
    assert (page.read_text() == f"# Title\n\n{table}\nEnd.\n") == ("--readme" in arguments)


@pytest.mark.parametrize(("is_met", "status"), [(True, 0), (False, 1)])
def test_the_exit_status_is_that_of_the_bars(*, is_met: bool, status: int) -> None:
    code = f"""
import runpy, sys
from tests.bench import bench_frames
from tests.bench.figure import Figure
bench_frames.figures = lambda: [Figure(name="latency", ours="1 ms", bar="at most 2 ms", met={is_met})]
sys.argv = ["tests.bench", "frames"]
runpy.run_module("tests.bench", run_name="__main__")
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == status


def test_the_parts_are_listed_and_an_unknown_one_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, status in ((["--help"], 0), (["start", "nosuch"], 2)):
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == status
    printed = capsys.readouterr()
    assert (
        "cost, frames, isolation, many, models, page, parsers, pool, resume, runtime, start, store, tools"
        in " ".join(printed.out.split())
    )
    assert "there is no nosuch; there are cache, cost, frames" in printed.err
