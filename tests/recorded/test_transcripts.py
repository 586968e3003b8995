"""Wire transcripts: what every format sends, and what each provider is sent, byte for byte as recorded."""

from pathlib import Path

import pytest

from tests.recorded import transcripts
from tests.recorded.cases import CASES
from tests.recorded.exchange import Case
from tests.recorded.servers import Servers
from tests.recorded.transcripts import recorded, recorded_titles, transcript

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_transcript_is_as_recorded(servers: Servers, case: Case) -> None:
    assert transcript(servers, case).split("\n") == recorded(case).split("\n")


def test_a_case_is_recorded_anew(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(iter(CASES.values()))
    before = recorded(case)
    monkeypatch.setattr(transcripts, "FOLDER", tmp_path)
    transcripts.record(servers, case)
    assert recorded(case) == before


def test_there_is_a_file_for_each_case_and_no_other() -> None:
    assert recorded_titles() == sorted(CASES)
