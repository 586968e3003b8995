"""What the benches measure with: the least of several rounds, and a core each for what feeds and what is measured."""

import os
import subprocess
import sys

import pytest

from tests.bench.figure import CORES, least, on_first_core, to_last_core


def test_the_least_of_each_is_compared_whatever_round_it_was_in() -> None:
    assert least([(6.0, 5.0), (3.0, 9.0), (9.0, 4.0)]) == (3.0, 4.0, 0.75)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can do this")
def test_this_thread_keeps_to_one_core_meanwhile_and_what_is_measured_to_another() -> None:
    allowed = os.sched_getaffinity(0)
    with on_first_core(), subprocess.Popen(["cat"], stdin=subprocess.PIPE) as measured:
        to_last_core(measured.pid)
        assert (os.sched_getaffinity(0), os.sched_getaffinity(measured.pid)) == ({CORES[0]}, {CORES[-1]})
        measured.kill()
    assert os.sched_getaffinity(0) == allowed
