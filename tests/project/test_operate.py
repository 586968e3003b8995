"""`docs/operate.md`: its cost table follows from the formula, and every name in it exists."""

import re

import pytest

from tests.bench.bench_cost import LENGTHS, MEMORY_MB, cost
from tests.stack import ROOT, Stack, source
from winterbourne.chat import errors
from winterbourne.chat.settings import VARIABLES

PAGE = (ROOT / "docs/operate.md").read_text()
ROW = re.compile(r"^\| \w[^|]* \| ([\d.]+) \| \d+ ms \|((?: \$[\d.]+ \|)+)$", re.MULTILINE)


class TestCostTable:
    def test_has_the_durations_the_bench_assumes(self) -> None:
        assert [float(seconds) for seconds, _ in ROW.findall(PAGE)] == [
            round(length.duration_s, 1) for length in LENGTHS
        ]

    def test_follows_from_the_formula(self) -> None:
        for length, (_, dollars) in zip(LENGTHS, ROW.findall(PAGE), strict=True):
            shown = [float(price) for price in re.findall(r"[\d.]+", dollars)]
            assert shown == [round(cost(length.duration_s, memory_mb), 3) for memory_mb in MEMORY_MB]


class TestNames:
    def test_of_settings_exist(self) -> None:
        named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", PAGE))
        assert named <= VARIABLES

    def test_of_parameters_exist(self) -> None:
        named = set(re.findall(r"\b([A-Z][a-z][A-Za-z]+)=", PAGE))
        assert named
        assert named <= set(source()["Parameters"])

    def test_of_errors_exist(self) -> None:
        named = set(re.findall(r"`(Model[A-Z][a-z]\w+|Deadline\w+)`", PAGE)) - set(source()["Parameters"])
        assert named <= set(errors.__all__)

    @pytest.mark.parametrize("output", ["DashboardLink"])
    def test_of_outputs_exist(self, output: str) -> None:
        assert output in PAGE
        assert output in Stack().outputs
