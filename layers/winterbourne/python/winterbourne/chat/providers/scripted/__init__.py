"""The scripted provider: deterministic and offline, for demos and tests."""
