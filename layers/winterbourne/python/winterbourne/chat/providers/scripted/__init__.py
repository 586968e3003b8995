"""The scripted model: deterministic, without network; for trying things out and for tests."""
