"""`python -m tests.bench [NAME ...]`: print the figures of the modules `bench_NAME.py`, or of all of them.

Exits with 1 if a bar is missed. Each module has `def figures() -> Iterable[Figure]`.
"""

import argparse
import datetime as dt
import importlib
import os
import platform
import sys
from pathlib import Path

from tests.bench.figure import Figure

ROOT = Path(__file__).parents[2]


def main(arguments: list[str]) -> bool:
    """Print the machine, then a block per module, then the bars that are missed; whether there are none."""
    found = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Print figures; fails if a bar is missed."
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"what to measure, by default all: {', '.join(found)}")
    names = parser.parse_args(arguments).names
    if unknown := [name for name in names if name not in found]:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(found)}")
    print(f"{dt.datetime.now(tz=dt.UTC):%Y-%m-%d}  {platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"Python {platform.python_version()}, command: python -m tests.bench {' '.join(names)}".rstrip())
    missed = []
    for name in names or found:
        print(f"\n{name}", flush=True)
        for figure in importlib.import_module(f"tests.bench.bench_{name}").figures():
            print(line(figure), flush=True)
            missed += [figure.name] if figure.bar and not figure.met else []
    if missed:
        print(f"\nMISSED: {'; '.join(missed)}")
    return not missed


def line(figure: Figure) -> str:
    """`  what: ours; beside; ratio; bar (met)`."""
    ratio = "" if figure.ratio is None else f"ratio {figure.ratio:.3f}"
    bar = figure.bar and f"bar {figure.bar}: {'met' if figure.met else 'MISSED'}"
    return f"  {figure.name}: " + "; ".join(part for part in (figure.ours, figure.beside, ratio, bar) if part)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "functions"), str(ROOT / "layers" / "winterbourne" / "python")]
    sys.exit(0 if main(sys.argv[1:]) else 1)
