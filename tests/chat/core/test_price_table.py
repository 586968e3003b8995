"""The table of list prices: well formed, and made from LiteLLM's list as `make prices` does it."""

import re

from tests import prices
from winterbourne.chat.core.price_table import TABLE

LIST = {
    "claude-m-4-5": {"litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 3e-06}
    | {"output_cost_per_token": 1.5e-05, "cache_read_input_token_cost": 3e-07}
    | {"cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06},
    "openai/gpt-m": {"litellm_provider": "openai", "mode": "responses", "input_cost_per_token": 1e-06}
    | {"output_cost_per_token": 2e-06, "input_cost_per_token_above_272k_tokens": 2e-06}
    | {"output_cost_per_token_above_272k_tokens": 3e-06},
    "gpt-m-2026-01-01": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-06}
    | {"output_cost_per_token": 4e-06},
    "embed": {"litellm_provider": "openai", "mode": "embedding", "input_cost_per_token": 1e-06},
    "free": {"litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
    "elsewhere": {
        "litellm_provider": "azure",
        "mode": "chat",
        "input_cost_per_token": 1.0,
        "output_cost_per_token": 1.0,
    },
}


def test_each_line_has_a_section_the_prices_and_models() -> None:
    for line in TABLE.strip().splitlines():
        section, numbers, models = re.fullmatch(r"([a-z]+) ([\d. ]+): (.+)", line).groups()  # type: ignore[union-attr]
        assert section in prices.SECTIONS.values()
        assert len(numbers.split()) in {5, 11}
        assert models


def test_no_model_is_there_twice() -> None:
    models = [
        (line.split()[0], name) for line in TABLE.strip().splitlines() for name in line.partition(": ")[2].split()
    ]
    assert len(models) == len(set(models)) == len(prices.current())


def test_it_is_made_of_the_models_of_text_that_cost_something() -> None:
    assert prices.prices_of(LIST) == {
        ("anthropic", "claude-m-4-5"): ("3", "15", "0.3", "3.75", "6"),
        ("openai", "gpt-m"): ("1", "2", "1", "1", "1", "272000", "2", "3", "2", "2", "2"),
        ("openai", "gpt-m-2026-01-01"): ("1", "4", "1", "1", "1"),
    }


def test_what_has_changed_is_told() -> None:
    before = {("openai", "a"): ("1", "2"), ("openai", "b"): ("1", "2"), ("xai", "c"): ("1", "2")}
    after = {("openai", "a"): ("1", "2"), ("openai", "b"): ("1", "3"), ("xai", "d"): ("1", "2")}
    assert [*prices.changes(before, after)] == ["openai:b: 1 2 -> 1 3", "xai:c: 1 2 -> none", "xai:d: none -> 1 2"]
