"""The transcript of a case, and the file it is recorded in."""

from pathlib import Path
from typing import Final

from tests.recorded.exchange import Case
from tests.recorded.normalize import steady
from tests.recorded.servers import HOME, Servers

__all__ = ["record", "recorded", "recorded_titles", "transcript"]

FOLDER: Final = HOME / "wire"


def transcript(servers: Servers, case: Case) -> str:
    """Run a case and return its transcript."""
    return steady(servers.client(case.server).record(case.exchanges))


def recorded(case: Case) -> str:
    """The recorded transcript of a case."""
    return _file(case).read_bytes().decode()


def recorded_titles() -> list[str]:
    """The titles of the recorded cases."""
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.txt"))


def record(servers: Servers, case: Case) -> None:
    """Record a case anew."""
    file = _file(case)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(transcript(servers, case).encode())


def _file(case: Case) -> Path:
    return FOLDER / f"{case.title}.txt"
