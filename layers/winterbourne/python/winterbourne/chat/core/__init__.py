"""The core of the chat engine: messages, events, history, the agent loop and its supervisor."""
