"""The table of figures in README.md: what `make bench` prints at its end, with one part for each bench."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from tests.bench.figure import Figure

__all__ = ["HEAD", "parts", "renewed", "table"]

HEAD: Final = "| figure | ours | beside | ratio | bar |\n|---|---|---|---|---|\n"
_TABLE: Final = re.compile(rf"(?<={re.escape(HEAD)})(\|.*\n)*")
_PART: Final = re.compile(r"^\| \*\*(\w+)\*\* \|.*\n(?:\| (?!\*\*).*\n)*", re.MULTILINE)


def table(name: str, run: str, figures: Sequence[Figure]) -> str:
    """The rows of one bench: first its name and its run, then each figure that has a bar or something beside it."""
    shown = [figure for figure in figures if figure.bar or figure.beside]
    rows = [(f"**{name}**", run, "", "", ""), *map(_cells, shown)] if shown else []
    return "".join(map(_row, rows))


def renewed(page: str, tables: Mapping[str, str]) -> str:
    """The page, with these benches' rows in place of their older ones; those of other benches stay."""
    everything = {**parts(page), **tables}
    return _TABLE.sub(lambda _: "".join(everything[name] for name in sorted(everything)), page, count=1)


def parts(page: str) -> dict[str, str]:
    """The rows of each bench on the page."""
    found = _TABLE.search(page)
    return {part[1]: part[0] for part in _PART.finditer(found[0])} if found else {}


def _cells(figure: Figure) -> tuple[str, ...]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.3f}"
    return figure.name, figure.ours, figure.beside, ratio, figure.bar and f"{figure.bar}: {figure.verdict}"


def _row(cells: tuple[str, ...]) -> str:
    return "|" + "".join(f" {text} |" if (text := cell.replace("|", "/")) else " |" for cell in cells) + "\n"
