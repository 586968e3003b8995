"""The figures in README.md are what `make bench` prints: its rows and their bars are those of the benches' code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import readme
from tests.bench.figure import Figure
from tests.stack import ROOT

BENCHES = {path.stem.removeprefix("bench_"): path for path in Path(__file__).parent.glob("bench_*.py")}
PAGE = (ROOT / "README.md").read_text("utf-8")
FRAMES = "| **frames** | old | | | |\n| a | 1 | | | |\n"
PAGE_OF_TWO = f"# Title\n\n{readme.HEAD}{FRAMES}| **tools** | old | | | |\n| b | 1 | | | |\n\nEnd.\n"


def pattern(node: ast.expr | None) -> str:
    """What the text of an expression looks like; what only a run knows may be anything."""
    match node:
        case None:
            return ""
        case ast.Constant(value=str(text)):
            return re.escape(text.strip())
        case ast.JoinedStr(values=values):
            return "".join(pattern(value) if isinstance(value, ast.Constant) else ".+" for value in values)
        case _:
            return ".*"


def printed(bench: str) -> list[re.Pattern[str]]:
    """A pattern of the row (`name|bar`) of each figure of the bench that README shows."""
    found = []
    for call in ast.walk(ast.parse(BENCHES[bench].read_text("utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Figure":
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            if {"bar", "beside"} & set(given):
                found.append(re.compile(f"{pattern(given['name'])}\\|{pattern(given.get('bar'))}"))
    return found


def shown(bench: str) -> Iterator[str]:
    """Each row of the bench in README, as `name|bar`."""
    for row in readme.parts(PAGE).get(bench, "").splitlines()[1:]:
        name, *_, bar = (cell.strip() for cell in row.strip("|").split("|"))
        yield f"{name}|{re.sub(': (met|[*][*]missed[*][*])$', '', bar)}"


@pytest.mark.parametrize("bench", sorted(BENCHES))
class TestTheReadme:
    def test_shows_every_figure_with_a_bar_or_something_beside_it(self, bench: str) -> None:
        assert [one.pattern for one in printed(bench) if not any(map(one.fullmatch, shown(bench)))] == []

    def test_shows_no_figure_and_no_bar_that_the_bench_does_not_print(self, bench: str) -> None:
        assert [row for row in shown(bench) if not any(one.fullmatch(row) for one in printed(bench))] == []


def test_a_row_says_what_was_measured_and_how_its_bar_ended() -> None:
    figures = [
        Figure(name="latency", ours="3 ms", beside="theirs 2 ms", ratio=1.5, bar="≤ 1.3", met=False),
        Figure(name="throughput", ours="9 MB/s", bar="≥ 8", met=True),
        Figure(name="a part of it", ours="1 ms"),
    ]
    assert readme.table("start", "2026-11-27, 2 cores", figures) == (
        "| **start** | 2026-11-27, 2 cores | | | |\n"
        "| latency | 3 ms | theirs 2 ms | 1.500 | ≤ 1.3: **missed** |\n"
        "| throughput | 9 MB/s | | | ≥ 8: met |\n"
    )
    assert not readme.table("start", "2026-11-27, 2 cores", figures[2:])


def test_a_run_of_some_benches_renews_their_rows_alone() -> None:
    rows = {"start": "| **start** | new | | | |\n", "frames": "| **frames** | new | | | |\n"}
    assert readme.renewed(PAGE_OF_TWO, rows) == PAGE_OF_TWO.replace(FRAMES, rows["frames"] + rows["start"])


def test_the_page_is_as_it_was_if_a_run_measured_the_same() -> None:
    assert readme.renewed(PAGE, readme.parts(PAGE)) == PAGE
    assert readme.parts(PAGE)
