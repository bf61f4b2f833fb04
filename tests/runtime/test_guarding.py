"""Watching over an event loop: what blocks it is said once, with its stack, and an idle one is left in peace."""

from __future__ import annotations

import logging
import threading

import pytest

from mainspring.runtime.guarding import watched_loop
from tests.support.loops import in_loop, turns


def hold_everything_up(told: threading.Event) -> None:
    assert told.wait(30), "nothing was said of it"


class Hears(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "event loop" in record.getMessage():
            self.told.set()


@in_loop
async def test_what_blocks_the_event_loop_is_named_with_its_stack_once(caplog: pytest.LogCaptureFixture) -> None:
    ears = Hears()
    logging.getLogger("mainspring").addHandler(ears)
    try:
        with watched_loop(blocked_seconds=0.05):
            hold_everything_up(ears.told)
            threading.Event().wait(0.1)  # the same block goes on
            await turns()
    finally:
        logging.getLogger("mainspring").removeHandler(ears)
    said = [record.getMessage() for record in caplog.records if "event loop" in record.getMessage()]
    assert len(said) == 1
    assert "hold_everything_up" in said[0]


@in_loop
async def test_a_loop_that_turns_is_left_in_peace(caplog: pytest.LogCaptureFixture) -> None:
    with watched_loop(blocked_seconds=5.0):
        await turns(200)
    assert not caplog.records
