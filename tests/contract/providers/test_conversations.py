"""Every conversation of every client with every provider family: nothing is sent that the real one would refuse."""

import json

import pytest

from tests.chat.test_app import send
from tests.contract.providers.clients import CLIENTS, Talk
from tests.contract.providers.fake import Answer, StrictProvider, strict_providers
from tests.contract.providers.families import FAMILIES
from tests.contract.providers.scenarios import NEEDS_CLIENT_TOOLS, NEEDS_IMAGES, NEEDS_TOOLS, SCENARIOS

pytestmark = pytest.mark.usefixtures("own_hooks")

CASES = [
    (scenario, name)
    for scenario in SCENARIOS
    for name, client in CLIENTS.items()
    if client().runs_tools or scenario not in NEEDS_CLIENT_TOOLS
]


def is_possible(scenario: str, family: str) -> bool:
    if FAMILIES[family].is_variant:
        return False
    if scenario in NEEDS_TOOLS and not FAMILIES[family].has_tools:
        return False
    return scenario not in NEEDS_IMAGES or family != "deepseek"


async def complaint(scenario: str, client: str, provider: StrictProvider) -> str:
    """What went wrong in a conversation; empty if nothing did."""
    try:
        await SCENARIOS[scenario](Talk.begin(client, provider))
    except Exception as error:  # noqa: BLE001 - one family must not hide the next
        return "; ".join(provider.unlearned) or f"{type(error).__name__}: {error}"
    return "; ".join(provider.unlearned)


@pytest.mark.parametrize(("scenario", "client"), CASES)
async def test_nothing_is_sent_that_is_refused(scenario: str, client: str) -> None:
    families = [family for family in FAMILIES if is_possible(scenario, family)]
    async with strict_providers(*families) as providers:
        complaints = {name: await complaint(scenario, client, provider) for name, provider in providers.items()}
        assert {name: text for name, text in complaints.items() if text} == {}
        assert all(provider.requests for provider in providers.values())


async def test_each_provider_takes_the_request_for_a_title() -> None:
    titles: dict[str, str] = {}
    async with strict_providers(*FAMILIES) as providers:
        for name, provider in providers.items():
            talk = Talk.begin("stored", provider, title_model="")
            talk.model(Answer("It is 3."), Answer("A small sum"))
            await talk.ask("1 + 2?")
            (listed,) = json.loads((await send(talk.service, "GET", "/conversations"))["body"])["conversations"]
            titles[name] = "; ".join(provider.unlearned) or listed["title"]
    assert titles == dict.fromkeys(FAMILIES, "A small sum")
