"""Signals that wait for the end of what they would break."""

import signal

import pytest

from core.signals import Interrupted, StopRequest, deferred


def signaled(number: int, done: list, error: Exception | None = None) -> None:
    """Get a signal while it is deferred, and go to the end of the block, or raise there."""
    with deferred():
        signal.raise_signal(number)
        done.append(True)
        if error:
            raise error


def test_a_signal_waits_for_the_end_of_the_block_and_comes_then():
    done = []
    with StopRequest() as stop:
        with pytest.raises(Interrupted), stop.interruptible():
            signaled(signal.SIGTERM, done)
        assert stop.signum == signal.SIGTERM
    assert done == [True]


def test_an_error_of_the_block_is_told_with_the_signal_that_waited():
    error = ValueError("its own")
    with StopRequest() as stop:
        with pytest.raises(Interrupted) as raised, stop.interruptible():
            signaled(signal.SIGTERM, [], error)
        assert raised.value.__context__ is error


def test_handlers_are_as_before_and_what_is_ignored_stays_so():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        signaled(signal.SIGTERM, [])
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        with pytest.raises(KeyboardInterrupt):
            signaled(signal.SIGINT, [])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
