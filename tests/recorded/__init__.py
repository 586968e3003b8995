"""What callers and operators rely on, recorded as data: bytes on the wire, what is kept, public names.

A later release must say the same, read what an earlier one kept, and run under an earlier template. The cases and the
files beside them import nothing of the project; they drive it over HTTP, as its users do. `python -m tests.recorded`
records anew.
"""
