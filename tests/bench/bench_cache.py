"""Input cost of ten model turns with tools, with and without marks for a prompt cache, at a fake that prices tokens."""

import asyncio
import contextlib
import io
from collections.abc import Iterable

from tests.bench.figure import Figure
from tests.contract.providers.loops import ten_turns
from tests.contract.providers.prompt_cache import PromptCache

__all__ = ["figures"]

COST = 0.30
SHARE = 0.80
CLAUDES = ("anthropic", "anthropic-thinking", "bedrock-claude-thinking")
MARKED = (*CLAUDES, "bedrock-nova")


def figures() -> Iterable[Figure]:
    """Two lines for each provider; what Nova reads still costs a quarter, and OpenAI caches without being asked."""
    for family in (*MARKED, "openai"):
        cached, plain = _cache_of(family, "auto"), _cache_of(family, "off")
        ratio = cached.cost / plain.cost
        yield Figure(
            name=f"input cost, {family}",
            ours=f"{cached.cost:,.0f} tokens' worth",
            beside=f"MODEL_CACHE=off {plain.cost:,.0f}",
            ratio=ratio,
            bar=f"≤ {COST:.2f}" if family in CLAUDES else "",
            met=ratio <= COST if family in CLAUDES else None,
        )
        yield Figure(
            name=f"input read from the cache, {family}",
            ours=f"{cached.share_read:.1%}",
            bar=f"≥ {SHARE:.0%}" if family in MARKED else "",
            met=cached.share_read >= SHARE if family in MARKED else None,
        )


def _cache_of(family: str, model_cache: str) -> PromptCache:
    with contextlib.redirect_stdout(io.StringIO()):  # the log
        provider = asyncio.run(ten_turns(family, model_cache=model_cache))
    assert not provider.refusals, provider.refusals
    assert provider.cache
    return provider.cache
