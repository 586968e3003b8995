"""HTTP endpoints, one module each: chat, conversations, health, static files."""
