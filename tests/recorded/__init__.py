"""Golden files of what callers and operators rely on: bytes on the wire, stored conversations, public names.

A later release must send the same, read what an earlier one stored, and run under an earlier template. The cases are
plain data and drive the project over HTTP, as its users do. Few files import it: `servers` knows where the function is,
`names`, `public_api` and their tests know its names, and `tools/` is written as a user would write tools.
`python -m tests.recorded` records anew.
"""
