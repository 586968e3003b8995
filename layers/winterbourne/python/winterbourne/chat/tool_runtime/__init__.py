"""The tool runtime: declare tools, and run them so that none can hurt the stream or another tool."""
