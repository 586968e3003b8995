"""SECURITY.md: each of its promises names tests that exist."""

import re

import pytest

from tests.stack import ROOT

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!promise|-)(.+?) \| (.+) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("promise", "proof"), ROWS)
def test_a_promise_has_tests_that_exist(promise: str, proof: str) -> None:
    named = re.findall(r"\[(test_\w+)\]\((tests/\S+\.py)\)", proof)
    assert named, promise
    missing = [name for name, path in named if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")]
    assert missing == []


def test_no_address_is_made_up() -> None:
    assert re.findall(r"https?://|\S+@\S+\.\w+", PAGE) == []
