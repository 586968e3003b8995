"""The chat: its tools, its instructions, its look and its settings."""

from pathlib import Path

from chat import tools
from winterbourne.chat import Chat

chat = Chat(
    tools=tools,
    instructions=Path(__file__).with_name("instructions.md"),
    title="Winterbourne",
    greeting="Ask, and it runs.\n\n"
    "A winterbourne is a chalk stream that flows only when there is water for it. So does this one: nothing runs until "
    "you ask, and then the words come as they are found.",
    suggestions=(
        "Compare AAPL and MSFT, the weather in Paris and Lima, and 1200 EUR in USD",
        "What is 17.5 % of 2340, and what time is it in Tokyo?",
        "Count to 200",
    ),
    model_provider="bedrock",
    limit_requests_per_minute=60,
    limit_tokens_per_day=1_000_000,
)
handler = chat.handler
