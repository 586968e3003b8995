"""Processes that `bench_models` measures and compares, each a separate process."""
