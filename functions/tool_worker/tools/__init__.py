"""The tools of the worker. Every module in here is found; the chat declares each of them with `remote_tool`."""
