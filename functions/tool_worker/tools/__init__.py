"""The tools of the worker. Every module in this package is found; the chat declares each tool with `remote_tool`."""
