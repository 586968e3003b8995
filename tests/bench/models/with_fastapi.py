"""Comparison: FastAPI, uvicorn and the openai SDK, with the same frames as ours. PORT, then the base URL."""

import json
import sys
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI

app = FastAPI()
openai = AsyncOpenAI(api_key="none", base_url=sys.argv[2])


async def frames() -> AsyncIterator[str]:
    """One frame a token."""
    stream = await openai.chat.completions.create(
        model="gpt-bench", messages=[{"role": "user", "content": "hello"}], stream=True
    )
    async for chunk in stream:
        if chunk.choices and (text := chunk.choices[0].delta.content):
            yield f"data: {json.dumps({'type': 'content', 'delta': text})}\n\n"
    yield 'data: {"type":"done"}\n\n'


@app.post("/chat")
async def chat() -> StreamingResponse:
    """Stream one answer."""
    return StreamingResponse(frames(), media_type="text/event-stream")


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
