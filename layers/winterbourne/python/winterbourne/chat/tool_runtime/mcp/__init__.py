"""MCP (Model Context Protocol): tools of remote servers over streamable HTTP."""
