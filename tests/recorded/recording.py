"""Recording anew, part by part.

- `wire`: the transcripts of the cases
- `found`: what is found in the recorded stores
- `names`: the public names
- `kept`: the stores themselves, only if named

What is recorded is what callers, operators and older releases rely on, so it is recorded anew only together with a
change of the public behaviour that was meant: review the difference of the files line by line, and say in the change
log what is new. A new case may be added at any time. The stores are never recorded anew once a release has been made
with them: later releases must read what that one wrote.
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


def _wire(folder: Path, model_provider: Provider) -> None:
    with contextlib.closing(Servers(folder, model_provider)) as servers:
        for case in CASES.values():
            transcripts.record(servers, case)


PARTS: Final[Mapping[str, Callable[[Path, Provider], None]]] = {
    "wire": _wire,
    "found": kept.record_found,
    "names": names.record,
    "kept": kept.record,
}
DEFAULT: Final = ("wire", "found", "names")


def main(parts: Sequence[str]) -> None:
    """Record the parts that are named, or all but the stores."""
    for part in parts or DEFAULT:
        with tempfile.TemporaryDirectory() as folder, provider() as model_provider:
            PARTS[part](Path(folder), model_provider)
