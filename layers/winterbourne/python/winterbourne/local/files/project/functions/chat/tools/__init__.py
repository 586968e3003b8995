"""The tools the model may call. Every module in this package is found; add yours beside the first one."""
