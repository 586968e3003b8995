"""The HTTP client library: the one module that imports it, so that its successor is one line away.

httpx's last stable release is of December 2024. `httpx2` takes the same calls: `import httpx2 as httpx` here is the
whole swap, and `make test-successor` runs the tests so.
"""

import httpx

__all__ = ["httpx"]
