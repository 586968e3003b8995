"""`python -m winterbourne [handler]`, or this folder by its path, as the exec wrapper starts it."""

import os
import sys

LAYER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

if not __package__:  # started by its path: this folder is on sys.path, but its parent should be
    sys.path[0] = LAYER

from winterbourne.runtime import main  # noqa: E402 - sys.path had to be right first

if not __package__:  # from here on the path is the function's
    del sys.path[0]

if __name__ == "__main__":
    # A layer's folder is called `python`; installed by pip, the layers are where Lambda puts them.
    sys.exit(main(LAYER if os.path.basename(LAYER) == "python" else "/opt/python"))
