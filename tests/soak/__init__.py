"""Bounded load and faults against the real local server: `make soak`, and in a short form a test of the suite.

Each part drives the function as a user does and gives back what went wrong; nothing wrong is an empty list.
"""
