"""The function URL on this machine."""
