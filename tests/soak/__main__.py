"""`python -m tests.soak [--short] [--seed N]`: run every part, print a verdict; exits with 1 if anything went wrong."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.soak.bad_requests import bad_requests
from tests.soak.cut_streams import cut_streams
from tests.soak.faulted_streams import faulted_streams
from tests.soak.growth import growth
from tests.soak.killed_writers import frozen_writers, killed_writers
from tests.soak.progress import Outcome

SHOWN = 20


def main() -> int:
    """Run, print, and give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a tenth of everything, but 1,000 cuts and 100 kills")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeat a run's faults and requests")
    given = parser.parse_args()
    share = 10 if given.short else 1
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        homes = [Path(folder, name) for name in ("faulted", "bad", "growth", "cut", "killed", "frozen")]
        for home in homes:
            home.mkdir()
        outcomes = [
            faulted_streams(5000 // share, homes[0], given.seed),
            bad_requests(62_000 // share, homes[1], given.seed),
            growth(8000 // share, homes[2]),
            cut_streams(5000 if share == 1 else 1000, homes[3], given.seed),
            killed_writers(300 if share == 1 else 100, homes[4], given.seed, at_once=12),
            frozen_writers(100 // share, homes[5], given.seed, at_once=10),
        ]
    return _verdict(outcomes)


def _verdict(outcomes: list[Outcome]) -> int:
    for outcome in outcomes:
        print(f"{'wrong' if outcome.wrong else 'right':<6} {outcome.did}")
        for line in outcome.wrong[:SHOWN]:
            print(f"       {line}")
        if len(outcome.wrong) > SHOWN:
            print(f"       and {len(outcome.wrong) - SHOWN} more")
    return any(outcome.wrong for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
