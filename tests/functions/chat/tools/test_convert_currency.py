"""The convert_currency tool: exchange rates as Frankfurter documents them, https://frankfurter.dev/v1"""

import httpx
import pytest

from chat.tools.convert_currency import Conversion, convert_currency
from tests.functions.chat.tools.mock_service import Service
from winterbourne.chat.errors import ToolError


async def convert(service: Service, amount: float, source: str, target: str) -> Conversion:
    assert convert_currency.function
    result: Conversion = await convert_currency.function(amount, source, target, service.context(convert_currency))
    return result


def rates(**values: float) -> httpx.Response:
    return httpx.Response(200, json={"amount": 1.0, "base": "EUR", "date": "2026-11-20", "rates": values})


async def test_an_amount_is_converted_at_the_latest_rate() -> None:
    service = Service(rates(USD=1.1234))
    assert await convert(service, 1200, "eur", "usd") == Conversion(
        1200, "EUR", 1348.08, "USD", rate=1.1234, date="2026-11-20", source="Frankfurter (European Central Bank)"
    )
    assert str(service.requests[0].url) == "https://api.frankfurter.dev/v1/latest?base=EUR&symbols=USD"


async def test_converting_a_currency_to_itself_sends_no_request() -> None:
    assert (await convert(Service(), 5, "EUR", "eur")).result == 5


@pytest.mark.parametrize("response", [httpx.Response(404, json={"message": "not found"}), rates(CHF=0.9)])
async def test_a_rate_that_does_not_exist_is_an_error(response: httpx.Response) -> None:
    with pytest.raises(ToolError, match="There is no rate from EUR to XXX"):
        await convert(Service(response), 5, "EUR", "XXX")
