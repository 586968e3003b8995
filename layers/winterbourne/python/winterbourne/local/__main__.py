"""`python -m winterbourne.local`: the command line; without a command, `run`."""

import sys

from winterbourne.local.cli import COMMANDS, main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] if {*sys.argv[1:2]} & COMMANDS.keys() else ["run", *sys.argv[1:]]))
