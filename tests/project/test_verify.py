"""`docs/how-to/verify.md`: the claims are those that are measured, and what it says of the command is so."""

import re
from typing import Final

from tests.doc_pages import read
from tests.stack import TEMPLATE
from winterbourne.local.verify import stack, template
from winterbourne.local.verify.claims import CLAIMS
from winterbourne.local.verify.cost import estimate

PAGE: Final = read("docs/how-to/verify.md")
TEXT: Final = " ".join(PAGE.split())


def test_the_claims_are_those_that_are_measured() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", PAGE, re.MULTILINE)
    assert rows == [(claim.id, claim.title) for claim in CLAIMS]


def test_names_the_stack_its_tag_and_the_parameters_that_it_has_from_the_stage() -> None:
    assert f"`{stack.PREFIX}…`" in PAGE
    assert f"`{stack.TAG}`" in PAGE
    assert f"`Timeout` is {template.TIMEOUT_S} seconds" in TEXT
    named = re.search(r"parameters it has (.*?), and no secret", TEXT)
    assert named
    assert tuple(re.findall(r"`(\w+)`", named[1])) == template.TAKEN_OVER


def test_it_costs_about_what_is_said() -> None:
    seconds = 1500 + sum(claim.lasts_s for claim in CLAIMS)
    dollars, at_most = (
        sum(item.dollars for item in estimate(template.read_template(TEMPLATE), 512, s))
        for s in (seconds, stack.LASTS.total_seconds())
    )
    assert "some 40 cents with `MemorySize=512`" in TEXT
    assert 0.3 < dollars < 0.5
    assert "at most if it takes six hours, about twice that" in TEXT
    assert 1.8 < at_most / dollars < 2.3
    assert stack.LASTS.total_seconds() == 6 * 3600
    assert "some two hours" in TEXT
    assert 1.5 < seconds / 3600 < 2.5
