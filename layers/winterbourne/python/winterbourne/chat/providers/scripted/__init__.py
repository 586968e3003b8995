"""The scripted provider: intents from text, tool calls, replies; no model behind it."""
