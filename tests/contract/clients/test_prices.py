"""The table of list prices is what `make prices` makes of the pinned LiteLLM."""

from pathlib import Path

import pytest

from tests import prices
from tests.contract.clients import environment
from winterbourne.chat.core import price_table

pytestmark = pytest.mark.clients


def test_the_table_is_what_the_script_makes() -> None:
    environment.python()  # which brings the list
    models = prices.read_list()
    assert models
    text = Path(price_table.__file__).read_text()
    assert prices.render(prices.prices_of(models), prices.date_of(text)) == text
