"""The tools of the worker function, as the chat declares them. Found only where TOOL_WORKER_FUNCTION is set."""
