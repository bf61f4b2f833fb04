"""Keys as users write them: what a call gets, what a handle waits for, who is told why not."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainspring import App, Debounce, Handle, KeyConflict
from mainspring.core.states import State
from mainspring.errors import InvalidOption, KeyActive, QueueFull, RunSkipped, UnknownRun
from tests.api.conftest import Drain, NewApp


@pytest.mark.case("jobs", 5)
def test_a_conflict_names_the_owner_and_the_fields_that_differ(app: App) -> None:
    @app.task(key=lambda order, to="", fast=False: f"order:{order}")
    def ship(order: int, to: str = "home", fast: bool = False) -> None: ...

    owner = ship.enqueue(7)
    assert ship.enqueue(7, to="home", fast=False).id == owner.id
    with pytest.raises(KeyConflict) as refused:
        ship.enqueue(7, "office", fast=True)
    assert (refused.value.owner, refused.value.fields) == (owner.id, ["fast", "to"])
    assert "stored" not in refused.value.details
    assert "fast, to" in str(refused.value)


def test_a_key_that_is_held_while_active_is_free_when_the_run_has_ended(app: App, drain: Drain) -> None:
    @app.task(key=lambda site: site, key_ttl="active")
    def crawl(site: str) -> str:
        return site

    first = crawl.enqueue("a")
    assert crawl.enqueue("a").outcome == "existing"
    found = crawl.find_current(key="a")
    assert found is not None
    assert found.id == first.id
    drain(app)
    assert crawl.find_current(key="a") is None
    assert crawl.enqueue("a").outcome == "created"


def test_a_pruned_owner_is_told_of_with_its_state_and_end(app: App, drain: Drain) -> None:
    @app.task(key="once")
    def work() -> None: ...

    first = work.enqueue()
    drain(app)
    app.runs.prune(older_than=0)
    again = work.enqueue()
    assert (again.id, again.outcome, again.final_state) == (first.id, "existing", State.SUCCEEDED)
    assert again.ended_at is not None
    with pytest.raises(UnknownRun, match="was pruned"):
        again.result()


@pytest.mark.case("jobs", 8)
def test_an_operator_frees_the_key_of_an_ended_run_and_of_no_other(app: App, drain: Drain) -> None:
    @app.task(key="once", name="work")
    def work() -> None: ...

    first = work.enqueue()
    with pytest.raises(KeyActive):
        app.runs.reset_key("work", "once", "again, please")
    drain(app)
    assert app.runs.reset_key("work", "once", "again, please") == first.id
    (entry,) = app.client.audit.list(subject="key:work/once").data
    assert (entry.action, "again, please" in entry.data) == ("key.reset", True)
    assert work.enqueue().outcome == "created"


def test_debounced_calls_become_one_run_with_the_last_payload(app: App) -> None:
    seen = []

    @app.task
    def reindex(pages: int) -> int:
        seen.append(pages)
        return pages

    gathered = reindex.options(singleton="site", debounce=Debounce("100ms", max_wait="1m"))
    handles = [gathered.enqueue(n) for n in range(3)]
    assert [handle.outcome for handle in handles] == ["created", "replaced", "replaced"]
    asyncio.run(_until_all_ended(app, handles))
    assert seen == [2]
    assert {handle.result() for handle in handles} == {2}


async def _until_all_ended(app: App, handles: list[Handle[int]]) -> None:
    async with app.running(poll="20ms"):
        for handle in handles:
            await handle.aresult("30s")


def test_a_deferred_handle_follows_to_the_run_that_comes_after(app: App) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.task(singleton="site", on_singleton="replace")
    def reindex(pages: int) -> int:
        begun.set()
        assert go.wait(30)
        return pages

    async def story() -> None:
        async with app.running(poll="20ms"):
            first = await reindex.aenqueue(1)
            assert await asyncio.to_thread(begun.wait, 30)
            later = [await reindex.aenqueue(n) for n in (2, 3)]
            active = await reindex.afind_active(singleton="site")
            assert active is not None
            assert active.id == first.id
            assert [handle.outcome for handle in later] == ["deferred", "deferred"]
            go.set()
            assert await later[0].aresult("30s") == 3
            assert later[0].id == later[1].id != first.id
            assert await first.aresult("30s") == 1

    asyncio.run(story())


def test_a_throttled_task_runs_its_first_call_and_answers_the_others_with_it(app: App, drain: Drain) -> None:
    @app.task(singleton=lambda user: user, throttle="1h")
    def remind(user: str) -> str:
        return user

    first = remind.enqueue("ada")
    drain(app)
    assert [remind.enqueue("ada").outcome, remind.enqueue("bob").outcome] == ["existing", "created"]
    assert remind.enqueue("ada").id == first.id


def test_a_skipped_call_says_so_and_has_no_result(app: App) -> None:
    @app.task(singleton="one", on_singleton="skip")
    def work() -> None: ...

    work.enqueue()
    refused = work.enqueue()
    assert refused.outcome == "skipped"
    with pytest.raises(RunSkipped):
        refused.result("1s")
    assert app.runs.get(refused.id).run.reason == "superseded"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"on_singleton": "replace"}, "on_singleton"),
        ({"debounce": Debounce("1s")}, "debounce"),
        ({"throttle": "1s"}, "debounce"),
        ({"singleton": "s", "on_singleton": "whatever"}, "on_singleton"),
        ({"singleton": "s", "on_singleton": "skip", "debounce": Debounce("1s")}, "on_singleton"),
        ({"singleton": "s", "debounce": Debounce("1s"), "throttle": "1s"}, "throttle"),
        ({"singleton": "s", "debounce": "1s"}, "debounce"),
        ({"singleton": "s", "throttle": 0}, "throttle"),
        ({"singleton": "s", "throttle": "1s", "delay": "1s"}, "delay"),
        ({"key_ttl": "active"}, "key_ttl"),
        ({"key": "k", "key_ttl": "0s"}, "key_ttl"),
        ({"delay": "4000d"}, "delay"),
    ],
)
def test_what_says_nothing_or_contradicts_itself_is_refused_where_it_is_written(idle: App, options: Any, named: str) -> None:
    @idle.task
    def work() -> None: ...

    with pytest.raises(InvalidOption) as refused:
        work.options(**options)
    assert refused.value.details["option"] == named


def test_a_run_is_due_within_ten_years(app: App) -> None:
    @app.task
    def work() -> None: ...

    assert work.options(at=datetime.now(UTC) + timedelta(days=3650)).enqueue().outcome == "created"
    assert work.options(at=datetime.now(UTC) - timedelta(days=3650)).enqueue().outcome == "created"
    with pytest.raises(InvalidOption, match="ten years"):
        work.options(at=datetime.now(UTC) + timedelta(days=3660)).enqueue()


def test_a_payload_that_replaces_another_waits_for_no_other_runs(app: App) -> None:
    @app.task
    def work() -> None: ...

    first = work.enqueue()
    with pytest.raises(InvalidOption) as refused:
        work.options(singleton="s", on_singleton="replace", after=[first]).enqueue()
    assert refused.value.details["option"] == "after"
    assert app.runs.counts() == {"queued": 1}


# -- room in queues, streams -------------------------------------------------------------------------------------------


def test_a_bounded_queue_refuses_plain_calls_and_keyed_ones(app: App) -> None:
    mail = app.queue("mail", max_waiting=3)

    @app.task(queue=mail)
    def send(to: str) -> None: ...

    send.enqueue("a")
    send.enqueue_many([("b",), ("c",)])
    for call in (lambda: send.enqueue("d"), lambda: send.options(key="k").enqueue("d"), lambda: send.enqueue_many([("d",)])):
        with pytest.raises(QueueFull) as refused:
            call()
        assert refused.value.retry_after > 0
    assert app.runs.counts() == {"queued": 3}


def test_an_operator_bounds_a_queue_while_programs_run(app: App, new_app: NewApp) -> None:
    @app.task
    def work(n: int) -> None: ...

    assert work.enqueue_many([(n,) for n in range(3)])[2].outcome == "created"
    operator = new_app()
    operator.queues.bound("default", 4, overflow="skip")
    assert [handle.outcome for handle in work.enqueue_many([(3,), (4,)])] == ["created", "skipped"]
    operator.queues.bound("default", None)
    assert work.enqueue(5).outcome == "created"
    with pytest.raises(InvalidOption):
        operator.queues.bound("default", -1)


def test_a_queue_that_drops_its_oldest_keeps_the_newest(app: App, drain: Drain) -> None:
    seen = []
    ticks = app.queue("ticks", max_waiting=2, overflow="drop_oldest")

    @app.task(queue=ticks)
    def tick(n: int) -> None:
        seen.append(n)

    handles = [tick.enqueue(n) for n in range(4)]
    drain(app)
    assert sorted(seen) == [2, 3]
    with pytest.raises(RunSkipped):
        handles[0].result("1s")


def test_a_stream_commits_chunk_by_chunk_and_says_how_far_it_came(app: App) -> None:
    @app.task
    def work(n: int) -> None: ...

    told = []
    assert work.enqueue_stream(((n,) for n in range(25)), chunk=10, on_chunk=lambda last, _: told.append(last)) == 24
    assert told == [9, 19, 24]
    assert work.enqueue_stream(()) == -1
    with pytest.raises(InvalidOption):
        work.enqueue_stream([(1,)], chunk=0)


def test_a_stream_that_breaks_names_the_last_item_that_is_committed(app: App) -> None:
    app.queue("default", max_waiting=15)

    @app.task
    def work(n: int) -> None: ...

    with pytest.raises(QueueFull) as refused:
        work.enqueue_stream(((n,) for n in range(25)), chunk=10)
    assert refused.value.details["last_committed"] == 9
    assert app.runs.counts() == {"queued": 10}
