"""`python -m tests.reference` writes the pages of the reference that are made from the code."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "functions"), str(ROOT / "layers" / "winterbourne" / "python")]
    from tests.reference import pages

    pages.write()
