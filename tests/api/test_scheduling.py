"""``@app.schedule`` and ``ctx.occurrence`` end to end, with real workers and the real clock."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainspring import App, Context, cron, every
from mainspring.errors import InvalidOption
from tests.api.conftest import NewApp
from tests.support.loops import happened, in_loop


@in_loop
async def test_a_scheduled_task_runs_and_knows_for_what(app: App) -> None:
    seen: list[tuple[bool, Any]] = []
    twice = threading.Event()

    @app.schedule("minutely", every("1s", anchor="2026-01-01T00:00:00Z"), payload={"full": True}, overlap="skip")
    @app.task(name="report")
    def report(ctx: Context, full: bool = False) -> None:
        seen.append((full, ctx.occurrence))
        if len(seen) >= 2:
            twice.set()

    async with app.running(poll="100ms"):
        await happened(twice)
    full, told = seen[0]
    assert full is True
    assert (told.schedule, told.origin, told.covers_count) == ("minutely", "planned", 1)
    assert told.next - told.nominal == timedelta(seconds=1)
    assert told.nominal.microsecond == 0
    assert timedelta(0) <= datetime.now(UTC) - told.due < timedelta(minutes=1)
    assert app.schedules.get("minutely").fired >= 2


@in_loop
async def test_a_run_that_no_schedule_made_has_no_occurrence(app: App) -> None:
    @app.task(name="plain")
    def plain(ctx: Context) -> bool:
        return ctx.occurrence is None

    handle = await plain.aenqueue()
    async with app.running(poll="100ms"):
        assert await handle.aresult(timeout=30) is True


def test_a_schedule_is_put_as_the_app_opens_its_database_and_a_pause_stays(new_app: NewApp) -> None:
    def declare(app: App, rule: object) -> None:
        @app.schedule("nightly", rule)  # type: ignore[arg-type]
        @app.task(name="nightly")
        def nightly() -> None: ...

    first = new_app("billing")
    declare(first, cron("30 2 * * *", tz="Europe/Berlin"))
    assert first.schedules.get("nightly").revision == 1
    first.schedules.pause("nightly", reason="upstream down")
    second = new_app("billing")
    declare(second, cron("30 3 * * *", tz="Europe/Berlin"))
    seen = second.schedules.get("nightly")
    assert (seen.revision, seen.state) == (2, "paused")


def test_what_cannot_be_is_refused_at_import(new_app: NewApp) -> None:
    app = new_app("billing")

    @app.task(name="nightly")
    def nightly(full: bool) -> None: ...

    with pytest.raises(InvalidOption, match="overlap"):
        app.schedule("nightly", every("1h"), payload={"full": True}, overlap="never")(nightly)
    app.schedule("nightly", every("1h"), payload={"full": True})(nightly)
    with pytest.raises(InvalidOption, match="two schedules"):
        app.schedule("nightly", every("1h"), payload={"full": True})(nightly)
