"""Declare tools and run them so that nothing one of them does can hurt the stream or another tool."""
