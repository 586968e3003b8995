"""`override`: something for type checkers alone."""

import subprocess
import sys

from winterbourne.override import override


def test_a_method_stays_as_it_is() -> None:
    def method() -> None: ...

    assert override(method) is method


def test_the_runtime_imports_nothing_for_it() -> None:
    code = "import sys, winterbourne.runtime; print('typing_extensions' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
