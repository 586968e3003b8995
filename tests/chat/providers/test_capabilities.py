"""What models take: by their families, by MODEL_CAPABILITIES, and the nearest level of reasoning."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chat.providers.provider_helpers import KEY, request
from winterbourne.chat.core.messages import ReasoningEffort
from winterbourne.chat.errors import SettingsError
from winterbourne.chat.providers import anthropic
from winterbourne.chat.providers.capabilities import (
    ALL_OPTIONS,
    LEVELS,
    Family,
    family_of,
    nearest_level,
    parse_capabilities,
)
from winterbourne.chat.settings import ModelSettings

HOSTS = {"anthropic": "api.anthropic.com", "bedrock": "bedrock-runtime.us-east-1.amazonaws.com"}
OPENAI, DEEPSEEK, KIMI = "api.openai.com", "api.deepseek.com", "api.moonshot.ai"


def family(provider: str, model_id: str, host: str = "", **overrides: Any) -> Family:
    return family_of(provider, host or HOSTS.get(provider, OPENAI), model_id, **overrides)


class TestFamilies:
    @pytest.mark.parametrize(
        ("provider", "host", "model_id", "asks", "levels"),
        [
            ("anthropic", "", "claude-3-5-haiku-20241022", "budget", ""),
            ("anthropic", "", "claude-haiku-4-5", "budget", "none minimal low medium high max"),
            ("anthropic", "", "claude-opus-4-20250514", "budget", "none minimal low medium high max"),
            ("anthropic", "", "claude-sonnet-4-6", "adaptive", "none low medium high max"),
            ("anthropic", "", "claude-opus-4-7", "adaptive", "none low medium high max"),
            ("anthropic", "", "claude-sonnet-5-5", "between_tools", "none low medium high max"),
            ("anthropic", "", "claude-opus-5-5", "adaptive", "low medium high max"),
            ("bedrock", "", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "budget", " ".join(LEVELS)),
            ("bedrock", "", "global.amazon.nova-2-lite-v1:0", "nova", "none low medium"),
            ("bedrock", "", "amazon.nova-lite-v1:0", "", ""),
            ("bedrock", "", "openai.gpt-oss-120b-1:0", "effort", "low medium high"),
            ("bedrock", "", "openai.gpt-5.6-sol", "nested", "none low medium high max"),
            ("bedrock", "", "qwen.qwen3-32b-v1:0", "qwen", "none high"),
            ("bedrock", "", "us.deepseek.r1-v1:0", "", "high"),
            ("bedrock", "", "us.meta.llama4-maverick-17b-instruct-v1:0", "", ""),
            ("openai", OPENAI, "gpt-4o", "openai", ""),
            ("openai", OPENAI, "gpt-5-mini", "openai", "minimal low medium high"),
            ("openai", OPENAI, "gpt-5.1", "openai", "none low medium high"),
            ("openai", OPENAI, "gpt-5.4-mini", "openai", "none low medium high max"),
            ("openai", OPENAI, "gpt-5-chat-latest", "openai", ""),
            ("openai", OPENAI, "gpt-6-astra", "openai", "low medium high max"),
            ("openai", OPENAI, "o3", "openai", "low medium high"),
            ("openai", DEEPSEEK, "deepseek-v4-pro", "deepseek", "none low high max"),
            ("openai", DEEPSEEK, "deepseek-reasoner", "", "high"),
            ("openai", KIMI, "kimi-k2.5", "switch", "none high"),
            ("openai", KIMI, "kimi-k3", "effort", "low high max"),
            ("openai", KIMI, "kimi-k2-0905-preview", "openai", ""),
            ("openai", "generativelanguage.googleapis.com", "gemini-2.5-pro", "openai", "low medium high"),
            (
                "openai",
                "generativelanguage.googleapis.com",
                "gemini-3-flash-preview",
                "openai",
                "minimal low medium high",
            ),
            ("openai", "api.mistral.ai", "mistral-large-latest", "openai", ""),
        ],
    )
    def test_each_has_its_levels_and_its_way_to_be_asked(
        self, provider: str, host: str, model_id: str, asks: str, levels: str
    ) -> None:
        found = family(provider, model_id, host)
        assert (found.asks, found.reasoning) == (asks, tuple(levels.split()))

    @pytest.mark.parametrize(
        ("provider", "host", "model_id", "refused"),
        [
            ("anthropic", "", "claude-opus-4-7", "temperature top_p seed"),
            ("anthropic", "", "claude-haiku-4-5", "seed presence_penalty frequency_penalty"),
            ("openai", OPENAI, "gpt-5", "temperature top_p presence_penalty frequency_penalty stop"),
            ("openai", OPENAI, "o3", "temperature parallel_tool_calls stop"),
            ("bedrock", "", "xai.grok-4.6", "temperature top_p seed parallel_tool_calls"),
        ],
    )
    def test_options_that_a_model_refuses_are_not_among_its_own(
        self, provider: str, host: str, model_id: str, refused: str
    ) -> None:
        options = family(provider, model_id, host).options
        assert options.isdisjoint(refused.split())
        assert {"max_tokens"} <= options <= ALL_OPTIONS

    def test_a_server_that_nobody_knows_is_asked_in_openais_way(self) -> None:
        found = family("openai", "some-model", "127.0.0.1")
        assert (found.asks, found.reasoning, found.options) == ("openai", None, ALL_OPTIONS)

    def test_a_provider_that_nobody_knows_has_the_least(self) -> None:
        assert family("mine", "some-model") == Family()

    @pytest.mark.parametrize(
        ("model_id", "takes_one"),
        [
            ("claude-opus-4-20250514", False),
            ("claude-opus-4-1-20250805", True),
            ("claude-haiku-4-5", True),
            ("claude-sonnet-4-6", True),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", True),
        ],
    )
    @pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
    def test_claude_takes_a_temperature_up_to_1_and_some_no_top_p_beside_it(
        self,
        provider: str,
        model_id: str,
        takes_one: bool,  # noqa: FBT001 - a parameter
    ) -> None:
        known = family(provider, model_id)
        assert (known.one_sampler, known.max_temperature, known.blank_stop) == (takes_one, 1.0, False)

    def test_models_without_tools_or_system_prompt_are_known(self) -> None:
        gemma = family("openai", "google/gemma-2-9b-it", "127.0.0.1")
        assert (gemma.tools, gemma.system) == (False, False)


class TestOwn:
    def test_fields_of_the_first_pattern_that_matches_win_over_the_table(self) -> None:
        own = '{"gemma*": {"tools": true, "window": 4096}, "*": {"window": 1}}'
        found = family("openai", "gemma3", "127.0.0.1", overrides=own)
        assert (found.tools, found.window, found.reasoning) == (True, 4096, ())
        assert family("openai", "gpt-4o", overrides=own).window == 1

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            ("[]", "MODEL_CAPABILITIES: expected a JSON object"),
            ("{", "MODEL_CAPABILITIES: expected a JSON object"),
            ('{"a*": 1}', "MODEL_CAPABILITIES: expected a JSON object"),
            ('{"a*": {"tols": true}}', "MODEL_CAPABILITIES: a*: object contains unknown field tols"),
            ('{"a*": {"tools": "yes"}}', "MODEL_CAPABILITIES: a*: expected bool, got str in tools"),
            ('{"a*": {"reasoning": ["much"]}}', "MODEL_CAPABILITIES: a*: invalid enum value 'much' in reasoning[0]"),
            ('{"a*": {"asks": "nicely"}}', "MODEL_CAPABILITIES: a*: invalid enum value 'nicely' in asks"),
        ],
    )
    def test_a_wrong_field_or_value_is_named(self, value: str, told: str) -> None:
        with pytest.raises(SettingsError) as raised:
            parse_capabilities(value)
        assert str(raised.value).startswith(told)

    def test_they_are_checked_when_the_provider_is_made(self) -> None:
        with pytest.raises(SettingsError, match="tols"):
            anthropic.make(ModelSettings(anthropic_api_key=KEY, model_capabilities='{"a": {"tols": 1}}'))

    def test_a_request_is_made_as_they_say(self) -> None:
        own = '{"m": {"tools": false, "system": false}}'
        provider = anthropic.make(ModelSettings(anthropic_api_key=KEY, model_id="m", model_capabilities=own))
        body = provider.encode(request(system="Be kind."))[1]
        assert b'"tool_use"' not in body
        assert b'"system"' not in body
        assert b"[called get_weather" in body


@given(st.sampled_from(LEVELS), st.lists(st.sampled_from(LEVELS), min_size=1, unique=True))
def test_the_nearest_level_is_one_of_the_models_and_none_is_nearer(
    level: ReasoningEffort, levels: list[ReasoningEffort]
) -> None:
    nearest = nearest_level(level, levels)
    distance = {each: abs(LEVELS.index(each) - LEVELS.index(level)) for each in levels}
    assert distance[nearest] == min(distance.values())
    assert all(LEVELS.index(each) <= LEVELS.index(nearest) for each in levels if distance[each] == distance[nearest])


def test_a_model_that_is_not_known_has_every_level_but_the_highest() -> None:
    assert [nearest_level(level, None) for level in LEVELS] == [*LEVELS[:-1], "high"]
