"""What `bench_models` measures and measures against, each a process of its own."""
