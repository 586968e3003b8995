"""`python -m tests.recorded [PART ...]`: record anew; `recording` says which parts there are, and when one may."""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "functions"), str(ROOT / "layers" / "winterbourne" / "python")]
    importlib.import_module("tests.recorded.recording").main(sys.argv[1:])
