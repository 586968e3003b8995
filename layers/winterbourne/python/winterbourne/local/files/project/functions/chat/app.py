"""The chat: all of it that is yours, beside its tools and instructions."""

from pathlib import Path

from chat import tools
from winterbourne.chat import Chat

chat = Chat(
    tools=tools,
    instructions=Path(__file__).with_name("instructions.md"),
    title="My chat",
    suggestions=("When is the due_date of an order that takes 10 working days?",),
    model_provider="bedrock",
    limit_requests_per_minute=60,
    limit_tokens_per_day=1_000_000,
)
handler = chat.handler
