"""Fixtures of the contract tests: hooks of one's own, and no secrets of an earlier test."""

from tests.chat.conftest import _clear_registered_secrets, own_hooks

__all__ = ["_clear_registered_secrets", "own_hooks"]
