"""What a process of a test needs in its environment to be measured: `make coverage` hands it to those it starts."""

import os
from typing import Final

__all__ = ["COVERAGE"]

COVERAGE: Final = {name: os.environ[name] for name in ("COVERAGE_PROCESS_CONFIG",) if name in os.environ}
"""Empty unless coverage is measured. For processes that get an environment of their own, as functions do."""
