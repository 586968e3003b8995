"""A stand-in for /opt with the engine of this checkout, made once in each process that needs it."""

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Final

from winterbourne.local.opt import make_opt

__all__ = ["OPT", "WRAPPER"]

_SCRATCH: Final = Path(tempfile.mkdtemp(prefix="winterbourne-tests-"))
atexit.register(shutil.rmtree, _SCRATCH, ignore_errors=True)

OPT: Final = make_opt(_SCRATCH / "opt")
WRAPPER: Final = OPT / "winterbourne"
"""The exec wrapper."""
