"""The claims: each has a name, a page and a limit of its own, and is measured only where it can be."""

import re
from dataclasses import replace

import pytest

from tests.local.verify.scripted_door import Door, healthy
from winterbourne.local.verify.claims import CLAIMS, Claim
from winterbourne.local.verify.client import Socket
from winterbourne.local.verify.deployment import Verdict, failed


def test_names_are_unique_and_pages_are_of_aws() -> None:
    assert len({claim.id for claim in CLAIMS}) == len({claim.title for claim in CLAIMS}) == len(CLAIMS) >= 28
    assert all(re.fullmatch("[a-z0-9-]+", claim.id) for claim in CLAIMS)
    assert all(re.fullmatch(r"https://docs\.aws\.amazon\.com/\S+\.html(#[a-z-]+)?", claim.page) for claim in CLAIMS)


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim.needs_aws], ids=lambda claim: claim.id)
def test_what_only_aws_can_tell_is_not_measured_elsewhere(claim: Claim) -> None:
    door = Door(healthy)
    assert claim.check(door.deployment()) == Verdict("not measured", "only AWS can tell")
    assert door.asked == []


def test_a_connection_that_cannot_be_made_fails_a_claim() -> None:
    def refuse(*_: object) -> Socket:
        raise ConnectionRefusedError("nobody listens")

    deployment = replace(Door(healthy).deployment(), connect=refuse)
    assert all(
        claim.check(deployment).words == "the connection broke: nobody listens"
        for claim in CLAIMS
        if not claim.needs_aws
    )


@pytest.mark.parametrize(("tries", "measured"), [(1, 1), (3, 3)])
def test_a_claim_is_measured_as_often_as_it_may_fail(tries: int, measured: int) -> None:
    seen: list[object] = []

    def measure(deployment: object) -> Verdict:
        seen.append(deployment)
        return failed("no", times=len(seen))

    claim = Claim(id="x", title="X", page="", measure=measure, lasts_s=1, tries=tries)
    assert claim.check(Door(healthy).deployment()).figures == {"times": measured}
