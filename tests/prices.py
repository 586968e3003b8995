"""Makes `core/price_table.py` from the list of prices in LiteLLM's package, in the version that the clients' lock pins.

`make prices` runs it. The list is read as data; the package (MIT license) is not imported and not shipped.
"""

import datetime as dt
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.contract.clients import environment
from winterbourne.chat.core import price_table
from winterbourne.chat.core.usage import family

__all__ = ["NO_LIST", "SECTIONS", "changes", "current", "date_of", "main", "prices_of", "read_list", "render"]

SOURCE: Final = "litellm/model_prices_and_context_window_backup.json"
NO_LIST: Final = "the clients' environment is not installed: make test-clients does that"

SECTIONS: Final = {
    "anthropic": "anthropic",
    "bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "deepseek": "deepseek",
    "gemini": "gemini",
    "groq": "groq",
    "mistral": "mistral",
    "openai": "openai",
    "xai": "xai",
}
"""LiteLLM's providers, and the part of our table that each belongs to."""

SKIPPED: Final = re.compile(
    r"bedrock/|ft:|.*(@|audio|realtime|search|computer-use|guard|beta|experimental|tts|robotics|omni)"
)
"""Prices of single regions, of models of one's own, and of models that are charged for more than tokens."""

LONG_WRITE: Final = "cache_creation_input_token_cost_above_1hr"
"""Of the marks that MODEL_CACHE=1h sets; OpenAI's, of twelve hours, are not asked for."""

Row = tuple[str, ...]
"""Dollars per million tokens, as text: input, output, cached, cache write, long cache write; then, where a longer input
costs more, from how many tokens, and the five prices there.
"""


def version() -> str:
    """The version of LiteLLM that the lock pins."""
    return str(re.findall(r"^litellm==(\S+)", environment.LOCK.read_text(), re.MULTILINE)[0])


def read_list() -> dict[str, Any] | None:
    """LiteLLM's list, in the pinned version; None if that is not installed."""
    site = next(iter((environment.HOME / "python/lib").glob("python3*/site-packages")), Path())
    if not (site / f"litellm-{version()}.dist-info").exists():
        return None
    found: dict[str, Any] = json.loads((site / SOURCE).read_text())
    return found


def prices_of(models: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], Row]:
    """The prices of all models of text, by section and id; one entry for all versions of a model that cost the same."""
    families: dict[tuple[str, str], dict[str, Row]] = defaultdict(dict)
    for name, model in models.items():
        section = SECTIONS.get(model.get("litellm_provider", ""))
        if section and model.get("mode") in {"chat", "responses"} and not SKIPPED.match(name) and (row := _row(model)):
            model_id = name.removeprefix(f"{section}/")
            families[section, family(model_id)].setdefault(model_id, row)
    prices: dict[tuple[str, str], Row] = {}
    for (section, name), versions in families.items():
        prices[section, name] = usual = versions.get(name) or versions[max(versions)]
        prices.update({(section, version): row for version, row in versions.items() if row != usual})
    return prices


def _row(model: Mapping[str, Any]) -> Row | None:
    """A model's prices; None if it costs nothing or has no price for tokens."""
    if not (row := _rates(model, "")) or set(row) == {"0"}:
        return None
    above = re.findall(r"\binput_cost_per_token_above_(\d+)k_tokens\b", " ".join(model))
    for thousands in above[:1]:
        row += (f"{thousands}000", *(_rates(model, f"_above_{thousands}k_tokens") or ()))
    return row


def _rates(model: Mapping[str, Any], suffix: str) -> Row | None:
    price, output = model.get(f"input_cost_per_token{suffix}"), model.get(f"output_cost_per_token{suffix}")
    if price is None or output is None:
        return None
    cached = model.get(f"cache_read_input_token_cost{suffix}") or price
    write = model.get(f"cache_creation_input_token_cost{suffix}") or price
    long_write = model.get(f"{LONG_WRITE}{suffix}") or write
    return tuple(f"{value * 1e6:.6f}".rstrip("0").rstrip(".") for value in (price, output, cached, write, long_write))


def render(prices: Mapping[tuple[str, str], Row], date: str) -> str:
    """The module, with the models of a section that cost the same on one line."""
    return f'''"""List prices of models, in dollars per million tokens, as of {date}. Made by `make prices`; not edited.

From `model_prices_and_context_window_backup.json` of LiteLLM {version()} (MIT license). A line has: the part of the
table; the prices of input, output, input read from a cache, input written to it, and that for an hour; where long input
costs more, the tokens above which it does, and the five prices then; its models.
A date or version at the end of a model's id matters only if it is here. Bedrock: US East (N. Virginia).
"""

from typing import Final

TABLE: Final = """
{"".join(_lines(prices))}"""
'''


def _lines(prices: Mapping[tuple[str, str], Row]) -> Iterator[str]:
    alike: dict[tuple[str, Row], list[str]] = defaultdict(list)
    for (section, name), row in sorted(prices.items()):
        alike[section, row].append(name)
    for (section, row), names in alike.items():
        head = line = f"{' '.join((section, *row))}:"
        for name in names:
            if len(line) + len(name) > 118:
                yield f"{line}\n"
                line = head
            line += f" {name}"
        yield f"{line}\n"


def changes(before: Mapping[tuple[str, str], Row], after: Mapping[tuple[str, str], Row]) -> Iterable[str]:
    """What is new, gone or has another price, a line each."""
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            prices = [" ".join(row) if row else "none" for row in (before.get(key), after.get(key))]
            yield f"{':'.join(key)}: {prices[0]} -> {prices[1]}"


def current() -> dict[tuple[str, str], Row]:
    """The prices in the table that there is."""
    prices: dict[tuple[str, str], Row] = {}
    for line in price_table.TABLE.strip().splitlines():
        head, _, names = line.partition(": ")
        section, *row = head.split()
        prices.update({(section, name): tuple(row) for name in names.split()})
    return prices


def date_of(table: str) -> str:
    """When the prices in the text of a table were read."""
    return str(re.findall(r"as of (\S+)\.", table)[0])


def main() -> None:
    """Write the table anew if there is anything to change, and print what has changed."""
    environment.python()
    if not (models := read_list()):
        sys.exit(NO_LIST)
    prices = prices_of(models)
    path = Path(price_table.__file__)
    sys.stdout.writelines(f"{line}\n" for line in changes(current(), prices))
    date = date_of(path.read_text()) if current() == prices else str(dt.datetime.now(dt.UTC).date())
    path.write_text(render(prices, date))
    sys.stdout.write(f"{len(prices)} prices of LiteLLM {version()}, as of {date}\n")


if __name__ == "__main__":
    main()
