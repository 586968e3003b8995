"""The get_stock_quote tool: share prices as Finnhub documents them, https://finnhub.io/docs/api/quote"""

import httpx
import pytest

from chat.tools.get_stock_quote import StockQuote, get_stock_quote
from tests.chat.tool_runtime.recording_clients import run_turn, tool_call
from tests.functions.chat.tools.mock_service import Service
from winterbourne.chat.errors import ToolError
from winterbourne.chat.tool_runtime.executor import ToolExecutor

QUOTE_BODY = {"c": 261.74, "d": 1.5, "dp": 0.58, "h": 263.31, "l": 260.68, "o": 261.07, "pc": 259.45, "t": 1582641000}
KEYS = {"FINNHUB_API_KEY": "secret"}


async def quote(service: Service, symbol: str = "aapl") -> StockQuote:
    assert get_stock_quote.function
    result: StockQuote = await get_stock_quote.function(symbol, service.context(get_stock_quote, KEYS))
    return result


async def test_a_quote_has_its_price_change_and_time() -> None:
    service = Service(httpx.Response(200, json=QUOTE_BODY))
    assert await quote(service) == StockQuote(
        symbol="AAPL",
        price=261.74,
        change=1.5,
        change_percent=0.58,
        previous_close=259.45,
        time="2020-02-25T14:30:00+00:00",
        source="Finnhub",
    )


async def test_the_key_is_sent_in_a_header_and_not_in_the_url() -> None:
    service = Service(httpx.Response(200, json=QUOTE_BODY))
    await quote(service)
    (request,) = service.requests
    assert str(request.url) == "https://finnhub.io/api/v1/quote?symbol=AAPL"
    assert request.headers["x-finnhub-token"] == "secret"


async def test_an_unknown_symbol_which_finnhub_answers_with_zeros_is_an_error() -> None:
    nothing = {"c": 0, "d": None, "dp": None, "h": 0, "l": 0, "o": 0, "pc": 0, "t": 0}
    with pytest.raises(ToolError, match="no share with the symbol AAPL"):
        await quote(Service(httpx.Response(200, json=nothing)))


async def test_a_rejected_key_is_an_error_that_does_not_quote_it() -> None:
    with pytest.raises(ToolError, match="does not accept our key") as raised:
        await quote(Service(httpx.Response(401, json={"error": "Invalid API key"})))
    assert "secret" not in str(raised.value)


async def test_stub_data_is_named_practice_data() -> None:
    service = Service(httpx.Response(200, json={**QUOTE_BODY, "source": "practice data"}))
    assert (await quote(service)).source == "practice data"


async def test_without_a_key_the_model_gets_an_error_and_no_request_is_sent() -> None:
    (message,) = await run_turn(ToolExecutor([get_stock_quote], keys={}), tool_call("get_stock_quote", symbol="AAPL"))
    assert message.is_error
    assert message.content.startswith("get_stock_quote is not set up here: FINNHUB_API_KEY is not set.")


@pytest.mark.parametrize("symbol", ["", "A B", "x" * 30, "../quote"])
async def test_an_invalid_symbol_is_not_sent(symbol: str) -> None:
    executor = ToolExecutor([get_stock_quote], keys=KEYS)
    (message,) = await run_turn(executor, tool_call("get_stock_quote", symbol=symbol))
    assert message.content.endswith("at `$.symbol`; fix that and call it again.")
