"""Entry point of the runtime: `python -m winterbourne [handler]`, or this folder's path, as in the exec wrapper."""

import os
import sys

LAYER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

if not __package__:  # started by path: sys.path has this folder, but needs its parent
    sys.path[0] = LAYER

from winterbourne.runtime import main  # noqa: E402 - sys.path must be fixed first

if not __package__:  # the function sets up sys.path from here on
    del sys.path[0]

if __name__ == "__main__":
    # A layer keeps its packages in a folder called `python`. If installed by pip, use Lambda's own layer folder.
    sys.exit(main(LAYER if os.path.basename(LAYER) == "python" else "/opt/python"))
