"""`python -m tests.recorded [PART ...]`: record anew; `recording` lists the parts and when each may be recorded."""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "functions"), str(ROOT / "layers" / "winterbourne" / "python")]
    importlib.import_module("tests.recorded.recording").main(sys.argv[1:])
