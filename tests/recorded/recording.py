"""Recording anew: `wire`, what is said; `kept`, what is kept; `names`, what has a name.

What is recorded is what callers, operators and older releases rely on, so it is recorded anew only together with a
change of the public behaviour that was meant: review the difference of the files line by line, and say in the change
log what is new. A new case may be added at any time. What is kept is never recorded anew once a release has been made
with it, only added to: later releases must read what that one wrote.
"""

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.recorded import kept, names, transcripts
from tests.recorded.cases import CASES
from tests.recorded.provider import Provider, provider
from tests.recorded.servers import Servers

__all__ = ["main"]


def _wire(folder: Path, model: Provider) -> None:
    with contextlib.closing(Servers(folder, model)) as servers:
        for case in CASES.values():
            transcripts.record(servers, case)


PARTS: Final[Mapping[str, Callable[[Path, Provider], None]]] = {
    "wire": _wire,
    "kept": kept.record,
    "names": names.record,
}


def main(parts: Sequence[str]) -> None:
    """Record the parts that are named, or all."""
    for part in parts or PARTS:
        with tempfile.TemporaryDirectory() as folder, provider() as model:
            PARTS[part](Path(folder), model)
