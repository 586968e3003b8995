"""A function that hosts tools: those that need more memory, more time or other rights than the chat should have."""
