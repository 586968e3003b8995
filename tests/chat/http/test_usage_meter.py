"""What a request has used, and what it reserves of its caller's limits before a turn."""

import pytest

from tests.chat.providers.provider_helpers import request
from winterbourne.chat.core.usage import Prices
from winterbourne.chat.errors import RateLimitExceeded
from winterbourne.chat.http.usage_meter import UsageMeter
from winterbourne.chat.providers.factory import make_provider
from winterbourne.chat.settings import Settings
from winterbourne.chat.storage.factory import make_store
from winterbourne.chat.storage.rate_limits import RateLimiter

PRICES = '{"plain": {"input": 0, "output": 1}, "dear": {"input": 0, "output": 10}}'


async def reserved_at_once(fallback: str) -> int:
    """How many turns of 100 tokens can be reserved of what 1,000 tokens of the chosen model cost."""
    values = {"openai_api_key": "k", "openai_base_url": "http://127.0.0.1:1/v1", "model_id": "plain"}
    settings = Settings.of(
        model_provider="openai", model_fallback=fallback, model_prices=PRICES, limit_dollars_per_day=0.001, **values
    )
    limiter = RateLimiter(make_store("memory"), settings.limits)
    provider, prices = make_provider(settings.model), Prices(settings.model)
    for count in range(100):
        try:
            await UsageMeter(provider, prices, limiter.reservation("key:alice")).reserve(request(max_tokens=100))
        except RateLimitExceeded:
            return count
    pytest.fail("nothing is reserved")


async def test_a_turn_reserves_what_its_model_may_cost() -> None:
    assert await reserved_at_once("") == 10


async def test_a_turn_reserves_what_the_dearest_of_the_models_may_cost_that_may_be_asked() -> None:
    """Else requests at once would exceed the limit together, once the chosen model fails."""
    assert await reserved_at_once("openai:dear") == 1
