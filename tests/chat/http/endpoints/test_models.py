"""The models on offer, as OpenAI's own client reads them."""

import contextlib
import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from openai import AsyncOpenAI, NotFoundError

from tests.chat.http.test_asgi import behind_uvicorn, own_lifecycle
from tests.chat.test_app import make_service, send
from winterbourne.chat.http.asgi import AsgiApplication

pytestmark = pytest.mark.usefixtures("own_hooks")

MODELS = ("google/gemini-3-flash", "global.amazon.nova-2-lite-v1:0", "models/größe 9%")
SETTINGS = {"model_id": MODELS[0], "model_choices": ",".join(MODELS[1:])}


@contextlib.asynccontextmanager
async def openai_client() -> AsyncIterator[AsyncOpenAI]:
    with own_lifecycle():
        async with (
            behind_uvicorn(AsgiApplication(make_service(**SETTINGS))) as url,
            AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client,
        ):
            yield client


async def test_the_stock_client_lists_them() -> None:
    async with openai_client() as client:
        assert tuple([model.id async for model in client.models.list()]) == MODELS


@pytest.mark.parametrize("name", MODELS)
async def test_the_stock_client_retrieves_one(name: str) -> None:
    async with openai_client() as client:
        assert (await client.models.retrieve(name)).id == name


async def test_the_stock_client_is_told_that_there_is_no_such_model() -> None:
    async with openai_client() as client:
        with pytest.raises(NotFoundError) as raised:
            await client.models.retrieve("gpt-9/huge")
    assert raised.value.code == "model_not_found"
    assert raised.value.type == "not_found_error"


@pytest.mark.parametrize("path", [quote(MODELS[0], safe=""), MODELS[0]])
async def test_a_slash_of_an_id_may_be_encoded_or_not(path: str) -> None:
    response = await send(make_service(**SETTINGS), "GET", f"/v1/models/{path}")
    model = {"id": MODELS[0], "object": "model", "created": 0, "owned_by": "winterbourne"}
    assert (response["statusCode"], json.loads(response["body"])) == (200, model)
