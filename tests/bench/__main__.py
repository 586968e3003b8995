"""`python -m tests.bench [NAME ...]`: print the figures of the modules `bench_NAME.py`, or of all of them.

With `--readme` the rows of those modules in the table of README.md become what was printed.

Exits with 1 if a bar is missed. Each module has `def figures() -> Iterable[Figure]`.
"""

import argparse
import datetime as dt
import importlib
import os
import platform
import sys
from pathlib import Path

from tests.bench import readme
from tests.bench.figure import Figure

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def main(arguments: list[str]) -> bool:
    """Print the machine, a block per module, all of it as a table, then the bars that are missed; whether none is."""
    found = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Print figures; fails if a bar is missed."
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"what to measure, by default all: {', '.join(found)}")
    parser.add_argument("--readme", action="store_true", help="write the table's rows into README.md as well")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in found]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(found)}")
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    run = f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}, {machine}"
    print(f"{run}, command: python -m tests.bench {' '.join(options.names)}".rstrip())
    measured = {name: _measure(name) for name in options.names or found}
    tables = {name: readme.table(name, run, figures) for name, figures in measured.items()}
    print(f"\n{readme.HEAD}{''.join(tables.values())}", end="")
    if options.readme:
        README.write_text(readme.renewed(README.read_text("utf-8"), tables), "utf-8")
    missed = [figure.name for figures in measured.values() for figure in figures if figure.bar and not figure.met]
    if missed:
        print(f"\nMISSED: {'; '.join(missed)}")
    return not missed


def _measure(name: str) -> list[Figure]:
    print(f"\n{name}", flush=True)
    figures = []
    for figure in importlib.import_module(f"tests.bench.bench_{name}").figures():
        print(line(figure), flush=True)
        figures.append(figure)
    return figures


def line(figure: Figure) -> str:
    """`  what: ours; beside; ratio; bar (met)`."""
    ratio = "" if figure.ratio is None else f"ratio {figure.ratio:.3f}"
    bar = figure.bar and f"bar {figure.bar}: {'met' if figure.met else 'MISSED'}"
    return f"  {figure.name}: " + "; ".join(part for part in (figure.ours, figure.beside, ratio, bar) if part)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "functions"), str(ROOT / "layers" / "winterbourne" / "python")]
    sys.exit(0 if main(sys.argv[1:]) else 1)
