"""The stand-in for /opt: the real exec wrapper starts the engine that is running, from wherever that lies."""

import os
import subprocess
from pathlib import Path

import winterbourne
from winterbourne.local.opt import WRAPPER, make_opt


def test_has_the_wrapper_which_can_be_executed_and_the_package(tmp_path: Path) -> None:
    opt = make_opt(tmp_path / "opt")
    assert (opt / "winterbourne").read_text() == WRAPPER.read_text()
    assert os.access(opt / "winterbourne", os.X_OK)
    assert (opt / "python/winterbourne").samefile(Path(winterbourne.__file__).parent)


def test_the_wrapper_starts_the_package_in_it(tmp_path: Path) -> None:
    wrapper = make_opt(tmp_path / "opt") / "winterbourne"
    show = tmp_path / "show"  # instead of Python: what the wrapper would start
    show.write_text('#!/bin/sh\necho "$@"\n')
    show.chmod(0o755)
    done = subprocess.run([wrapper, show, "/var/runtime/bootstrap.py"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/opt/python/winterbourne\n"
