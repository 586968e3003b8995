"""Contracts with the world: what model providers refuse, and what other people's clients and test suites expect."""
