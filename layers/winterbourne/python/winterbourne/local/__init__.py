"""Local Lambda emulator: a function URL with the same process, the same Runtime API and real streaming, no Docker."""
