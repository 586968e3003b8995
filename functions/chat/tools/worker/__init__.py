"""The tools of the worker function, as the chat declares them. Searched only if TOOL_WORKER_FUNCTION is set."""
