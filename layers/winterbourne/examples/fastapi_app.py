"""An existing FastAPI application, unchanged: `fastapi_app.app`."""

import asyncio

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()


async def numbers(count: int):
    for number in range(count):
        yield f"{number}\n"
        await asyncio.sleep(0.1)


@app.get("/numbers/{count}")
async def stream(count: int):
    return StreamingResponse(numbers(count), media_type="text/plain")
