"""The one loop: steps when due or rung, waits longer after errors, stops a service that says the impossible happened."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

import pytest

from mainspring.errors import BrokenInvariant, StorageUnavailable
from mainspring.runtime.driver import Bell, Driver
from mainspring.runtime.service import Wake
from tests.support.loops import happened, in_loop


class Scripted:
    """A service whose n-th step does what the script says, and counts."""

    name = "scripted"

    def __init__(self, script: Callable[[int], Wake]) -> None:
        self._script = script
        self._stepped = threading.Condition()
        self.steps = 0

    def step(self) -> Wake:
        try:
            return self._script(self.steps)
        finally:
            with self._stepped:
                self.steps += 1
                self._stepped.notify_all()

    async def has_stepped(self, count: int) -> None:
        """Until it was stepped so often."""
        assert await asyncio.to_thread(self._wait, count), f"only {self.steps} steps"

    def _wait(self, count: int) -> bool:
        with self._stepped:
            return self._stepped.wait_for(lambda: self.steps >= count, 30)


@in_loop
async def test_a_service_is_stepped_again_when_it_asked_to_be() -> None:
    driver, service = Driver(), Scripted(lambda n: Wake(0.0 if n < 3 else 0.001))
    driver.start(service)
    await service.has_stepped(6)
    await driver.stop()


@in_loop
async def test_a_bell_wakes_a_service_early() -> None:
    driver, service = Driver(), Scripted(lambda _: Wake(3600))
    bell = driver.start(service)
    await service.has_stepped(1)
    bell.ring()
    await service.has_stepped(2)
    await driver.stop()


@in_loop
async def test_a_bell_rung_during_a_step_is_not_lost() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def script(n: int) -> Wake:
        if n == 0:
            inside.set()
            go_on.wait(30)
        return Wake(3600)

    driver, service = Driver(), Scripted(script)
    bell = driver.start(service)
    await happened(inside)
    bell.ring()
    go_on.set()
    await service.has_stepped(2)
    await driver.stop()


@in_loop
async def test_a_bell_may_be_rung_from_any_thread_and_many_rings_are_one() -> None:
    driver, service = Driver(), Scripted(lambda _: Wake(3600))
    bell = driver.start(service)
    await service.has_stepped(1)
    ringers = [threading.Thread(target=bell.ring) for _ in range(8)]
    for ringer in ringers:
        ringer.start()
    for ringer in ringers:
        ringer.join()
    await service.has_stepped(2)
    await driver.stop()
    assert service.steps <= 1 + 8


def test_rings_before_a_wait_are_one_ring_and_are_used_up_by_it() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    bell.wait(3600)  # returns at once
    began = time.monotonic()
    bell.wait(0.01)
    assert time.monotonic() - began >= 0.009


@in_loop
async def test_a_service_that_raises_is_stepped_again_after_a_pause_that_doubles(caplog: pytest.LogCaptureFixture) -> None:
    def script(n: int) -> Wake:
        raise StorageUnavailable(f"away {n}")

    caplog.set_level(logging.ERROR, "mainspring")
    driver, service = Driver(), Scripted(script)
    driver.start(service)
    await service.has_stepped(4)
    await driver.stop()
    said = [record.getMessage() for record in caplog.records]
    assert [message.rpartition("again in ")[2] for message in said[:3]] == ["0.1 s", "0.2 s", "0.4 s"]
    assert all(
        record.exc_info in (None, (None, None, None)) or not record.exc_info[0] for record in caplog.records if record.exc_info
    )


@in_loop
async def test_a_step_that_goes_well_forgets_the_pauses_before_it(caplog: pytest.LogCaptureFixture) -> None:
    def script(n: int) -> Wake:
        if n in {0, 1, 3}:
            raise StorageUnavailable("away")
        return Wake(0.001 if n < 4 else 3600)

    driver, service = Driver(), Scripted(script)
    driver.start(service)
    await service.has_stepped(5)
    await driver.stop()
    said = [record.getMessage() for record in caplog.records]
    assert [message.rpartition("again in ")[2] for message in said] == ["0.1 s", "0.2 s", "0.1 s"]


@in_loop
async def test_a_bug_is_logged_with_its_traceback_and_does_not_end_the_service(caplog: pytest.LogCaptureFixture) -> None:
    def script(n: int) -> Wake:
        if n == 0:
            raise ZeroDivisionError("a bug")
        return Wake(3600)

    driver, service = Driver(), Scripted(script)
    driver.start(service)
    await service.has_stepped(2)
    await driver.stop()
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


@in_loop
async def test_what_cannot_be_stops_that_service_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: int) -> Wake:
        raise BrokenInvariant("two and two are five")

    driver = Driver()
    bad, good = Scripted(broken), Scripted(lambda _: Wake(0.001))
    driver.start(bad)
    driver.start(good)
    await bad.has_stepped(1)
    await good.has_stepped(good.steps + 5)
    assert bad.steps == 1
    assert driver.broken is not None
    assert driver.broken.message == "two and two are five"
    await driver.stop()
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]


@in_loop
async def test_stop_waits_for_the_step_under_way() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def script(_: int) -> Wake:
        inside.set()
        go_on.wait(30)
        return Wake(3600)  # the ring of the stop ends this wait

    driver, service = Driver(), Scripted(script)
    driver.start(service)
    await happened(inside)
    stopping = asyncio.create_task(driver.stop())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not stopping.done()
    assert service.steps == 0
    go_on.set()
    await stopping
    assert service.steps == 1
