"""Benchmarks: figures measured side by side in one run with what a user would choose instead."""
