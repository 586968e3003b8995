"""The chat function: a function-URL request in, a stream of a conversation out."""
