"""The tool worker: a function that hosts tools that need more memory, time or permissions than the chat has."""
