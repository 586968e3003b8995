"""Whenever the signal comes, what has to be tidied up is tidied up, and nothing ends that."""

import argparse
import contextlib
import itertools
import signal
import sys
from types import FrameType
from typing import Any

import pytest

from winterbourne.local.verify.command import _Verification
from winterbourne.local.verify.interrupt import Interrupted, Interrupts
from winterbourne.local.verify.report import Report
from winterbourne.override import override


def test_the_first_signal_is_raised_and_later_ones_are_answered() -> None:
    answered = []
    with Interrupts(lambda: answered.append(1)) as interrupts:
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGHUP)
    assert (interrupts.number, len(answered)) == (signal.SIGTERM, 2)


def test_none_is_raised_while_it_is_held_and_all_is_as_before_in_the_end() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts(lambda: None) as interrupts:
        interrupts.hold()
        signal.raise_signal(signal.SIGINT)
    assert interrupts.number == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_what_was_ignored_before_is_ignored() -> None:
    """As SIGHUP is by `nohup`, which a run of two hours may well be begun with."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts(lambda: None) as interrupts, contextlib.suppress(Interrupted):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert interrupts.number == 0


class Traced(_Verification):
    """A run that does nothing, in which a signal comes at one of its lines."""

    def __init__(self, line: int) -> None:
        self._args, self._report = argparse.Namespace(keep=False), Report({})
        self._begun = self.was_tidied = False
        self._lines, self.has_come = itertools.count(), False
        self._at = line

    @override
    def _measure(self) -> str:
        self._begun = True
        return ""

    @override
    def _tidy(self, reason: str) -> None:
        self.was_tidied = True

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not _Verification.run.__code__:
            return None
        if event == "line" and next(self._lines) == self._at:
            self.has_come = True
            signal.raise_signal(signal.SIGINT)
        return self.trace


def test_at_whatever_line_of_a_run_it_comes() -> None:
    """Where nothing is begun, there is nothing to tidy up."""
    before, tidied = sys.gettrace(), []
    for line in itertools.count():
        run = Traced(line)
        sys.settrace(run.trace)
        try:
            run.run()
        except KeyboardInterrupt:
            assert not run._begun
        finally:
            sys.settrace(before)
        assert run.was_tidied or not run._begun
        tidied.append(run.was_tidied)
        if not run.has_come:
            break
    assert sum(tidied) > 5
