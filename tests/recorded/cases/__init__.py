"""The cases, by group: the requests, and the provider's responses. Nothing here imports the project."""

from tests.recorded.cases import (
    ag_ui,
    ai_sdk,
    everywhere,
    lambdas,
    native,
    openai,
    providers,
    refusals,
    stored,
    streaming,
)
from tests.recorded.exchange import Case

__all__ = ["CASES"]

MODULES = (everywhere, native, ai_sdk, ag_ui, openai, providers, refusals, stored, streaming, lambdas)

CASES: dict[str, Case] = {case.title: case for module in MODULES for case in module.CASES}
"""Every case by `GROUP/NAME`."""
