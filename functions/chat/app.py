"""The chat: its tools, its instructions, its look and its settings."""

from pathlib import Path

from chat import tools
from chat.tools import worker
from winterbourne.chat import Chat

chat = Chat(
    tools=(tools, worker),
    instructions=Path(__file__).with_name("instructions.md"),
    model_provider="bedrock",
    limit_requests_per_minute=60,
    limit_tokens_per_day=1_000_000,
)
handler = chat.handler
