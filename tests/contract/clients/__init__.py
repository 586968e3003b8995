"""Other people's test suites and clients, pinned, against what this project speaks (`make test-clients`)."""
