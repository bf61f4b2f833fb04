"""Scheduled requests and programs end to end: real workers, a real server, real programs; and what their attempts leave."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mainspring import App, every, http, shell
from mainspring.core.states import TERMINAL, State
from mainspring.errors import TargetInvalid, TargetRefused, UnknownReceipt
from tests.support.loops import in_loop
from tests.targets.servers import answer, served

NEVER = every("1h", anchor="2100-01-01T00:00:00Z")
Monkey = pytest.MonkeyPatch


async def ended(app: App, run_id: str, state: State | None = None) -> Any:
    """Wait for a run's end, or for some state of it."""
    async with asyncio.timeout(30):
        while True:
            run = (await asyncio.to_thread(app.runs.get, run_id)).run
            if run.state is state or (state is None and run.state in TERMINAL):
                return run
            await asyncio.sleep(0.02)


def _wait_for(mark: Path) -> None:
    while not mark.exists():
        threading.Event().wait(0.02)


async def triggered(app: App, name: str, **options: Any) -> str:
    made = await asyncio.to_thread(lambda: app.schedules.trigger(name, reason="a test", **options))
    return str(made.run_id)


async def put(app: App, name: str, target: Any, **options: Any) -> None:
    await asyncio.to_thread(lambda: app.schedules.put(name, options.pop("rule", NEVER), target, **options))


def programs(monkeypatch: Monkey) -> None:
    monkeypatch.setenv("MAINSPRING_SHELL_ENABLED", "true")
    monkeypatch.setenv("MAINSPRING_SHELL_ALLOW", sys.executable)


def python(code: str, **fields: Any) -> Any:
    return shell([sys.executable, "-c", code], **fields)


@pytest.mark.case("schedules", 61)
@in_loop
async def test_every_attempt_of_an_occurrence_carries_one_key_and_a_rerun_another(app: App, monkeypatch: Monkey) -> None:
    busy = answer(503, b"busy", {"Retry-After": "0"})
    async with served(busy, answer(200, b"{}"), answer(200, b"{}")) as server:
        monkeypatch.setenv("MAINSPRING_HTTP_ALLOW", f"127.0.0.1:{server.port}")
        sent = http("POST", f"http://127.0.0.1:{server.port}/", json={"who": "{{ payload./user }}"})
        await put(app, "ping", sent, payload={"user": "ana"})
        async with app.running(poll="50ms"):
            first = await triggered(app, "ping", payload={"user": "bob"})
            assert (await ended(app, first)).state is State.SUCCEEDED
            again = (await asyncio.to_thread(app.runs.rerun, first)).id
            assert (await ended(app, again)).state is State.SUCCEEDED
    keys = [asked.headers["idempotency-key"] for asked in server.asked]
    assert keys == [f"manual:{first}", f"manual:{first}", f"manual:{first}~{again}"]
    assert [json.loads(asked.body) for asked in server.asked] == [{"who": "bob"}] * 3
    assert [asked.headers["mainspring-attempt"] for asked in server.asked] == ["1", "2", "1"]
    rows = app.runs.receipts(first)
    assert [(row.attempt, row.kind, row.size) for row in rows] == [(1, "http_response", 4), (2, "http_response", 2)]
    assert app.runs.receipt(first, 0).text == "busy"
    with pytest.raises(UnknownReceipt):
        app.runs.receipt(first, 2)


@pytest.mark.case("schedules", 53)
@in_loop
async def test_a_program_that_runs_out_of_time_failed_and_leaves_what_it_said(app: App, monkeypatch: Monkey) -> None:
    programs(monkeypatch)
    await put(app, "slow", python("print('begun', flush=True); import time; time.sleep(60)"), timeout="1s", max_attempts=1)
    async with app.running(poll="50ms"):
        run_id = await triggered(app, "slow")
        assert (await ended(app, run_id)).state is State.FAILED
    (tried,) = app.runs.attempts(run_id)
    assert tried.code == "timeout"
    assert [letter.run_id for letter in app.dead_letters.list().data] == [run_id]
    assert [(row.kind, app.runs.receipt(run_id, n).text) for n, row in enumerate(app.runs.receipts(run_id))] == [
        ("stdout", "begun\n"),
        ("stderr", ""),
    ]


@pytest.mark.case("schedules", 54)
@in_loop
async def test_a_restart_in_the_middle_of_a_program_spends_no_failure(app: App, monkeypatch: Monkey, tmp_path: Path) -> None:
    programs(monkeypatch)
    mark = tmp_path / "begun"
    code = f"import pathlib, time; p = pathlib.Path({str(mark)!r}); again = p.exists(); p.touch(); again or time.sleep(60)"
    await put(app, "long", python(code))
    async with app.running(poll="50ms", grace="0s"):
        run_id = await triggered(app, "long")
        async with asyncio.timeout(30):
            await asyncio.to_thread(_wait_for, mark)
    assert (await ended(app, run_id, State.QUEUED)).failures == 0
    async with app.running(poll="50ms"):
        run = await ended(app, run_id)
    assert (run.state, run.failures) == (State.SUCCEEDED, 0)


@in_loop
async def test_cancelling_reaches_the_program_and_what_it_said_is_kept(app: App, monkeypatch: Monkey, tmp_path: Path) -> None:
    programs(monkeypatch)
    mark = tmp_path / "up"
    code = f"import pathlib, time; print('up', flush=True); pathlib.Path({str(mark)!r}).touch(); time.sleep(60)"
    await put(app, "stop", python(code))
    async with app.running(poll="50ms"):
        run_id = await triggered(app, "stop")
        await asyncio.to_thread(_wait_for, mark)
        await asyncio.to_thread(lambda: app.runs.cancel(run_id, reason="a test"))
        assert (await ended(app, run_id)).state is State.CANCELLED
    assert app.runs.receipt(run_id, 0).text.startswith("up")


@in_loop
async def test_not_yet_goes_back_and_skip_skips(app: App, monkeypatch: Monkey, tmp_path: Path) -> None:
    programs(monkeypatch)
    mark = str(tmp_path / "m")
    code = f"import pathlib, sys; p = pathlib.Path({mark!r}); b = p.exists(); p.touch(); sys.exit(9 if b else 75)"
    await put(app, "later", python(code, release_after="1s", skip_code=9))
    async with app.running(poll="50ms"):
        run = await ended(app, await triggered(app, "later"))
    assert (run.state, run.releases, run.failures) == (State.SKIPPED, 1, 0)


def test_what_is_not_allowed_is_refused_when_it_is_written(app: App) -> None:
    with pytest.raises(TargetRefused, match="SHELL_ENABLED"):
        app.schedules.put("a", NEVER, shell(["/bin/true"]))
    with pytest.raises(TargetRefused, match="loopback"):
        app.schedules.put("a", NEVER, http("GET", "http://127.0.0.1/"))
    with pytest.raises(TargetInvalid):
        app.schedules.put("a", NEVER, {"http": {"method": "GET", "url": "nonsense"}})
    assert app.schedules.list() == []


@in_loop
async def test_a_due_instant_sends_its_own_key(app: App, monkeypatch: Monkey) -> None:
    async with served(answer(200)) as server:
        monkeypatch.setenv("MAINSPRING_HTTP_ALLOW", f"127.0.0.1:{server.port}")
        await put(app, "each", http("GET", f"http://127.0.0.1:{server.port}/"), rule=every("1s", anchor="2026-01-01T00:00:00Z"))
        async with app.running(poll="50ms"), asyncio.timeout(30):
            await server.arrived.wait()
    found = app.schedules.occurrences("each").data[-1]
    assert server.asked[0].headers["idempotency-key"] == found.key
