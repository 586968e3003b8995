"""What callers and operators rely on, recorded as data: bytes on the wire, what is kept, public names.

A later release must say the same, read what an earlier one kept, and run under an earlier template. The cases are plain
data and drive the project over HTTP, as its users do. Few files know it from inside: `servers` where the function lies,
`names`, `authors` and their tests what it is called, and `tools/`, which is written as a user would write tools.
`python -m tests.recorded` records anew.
"""
