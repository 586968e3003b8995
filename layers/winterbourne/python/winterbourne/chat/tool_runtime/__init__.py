"""Tool runtime: declares tools and runs them so that no tool can harm the stream or another tool."""
