"""The chat function: its Lambda handler and its tools."""
