"""The function URL on this machine: the same process, the same Runtime API, real streaming, no Docker."""
