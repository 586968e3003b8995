"""The tools the model may call. Every module in this package is found and registered; add yours beside them.

The modules of `worker`, which declare the tools of the worker function, are registered only if there is one.
"""
