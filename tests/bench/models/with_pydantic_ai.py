"""Comparison: pydantic-ai's Vercel adapter, Starlette and uvicorn. PORT, then the base URL."""

import sys

import uvicorn
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.ui.vercel_ai import VercelAIAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

agent = Agent(OpenAIChatModel("gpt-bench", provider=OpenAIProvider(base_url=sys.argv[2], api_key="none")))


async def chat(request: Request) -> Response:
    """Stream one answer."""
    response: Response = await VercelAIAdapter.dispatch_request(request, agent=agent)
    return response


app = Starlette(routes=[Route("/chat", chat, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
