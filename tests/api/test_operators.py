"""What operators do through an App: find, preview and apply, rerun with other arguments, explain; and no namespace sees another."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from mainspring import App, Client, Fail, Limit
from mainspring.errors import InvalidOption, MainspringError, PayloadInvalid, UnknownRun
from tests.api.conftest import NewApp
from tests.cli.shell import wait_until


def shop(app: App) -> Any:
    @app.task(name="send", max_attempts=1)
    def send(to: str, broken: bool = True) -> str:
        if broken:
            raise Fail("smtp_down", "no answer")
        return f"sent to {to}"

    return send


def drained(app: App) -> None:
    app.worker(poll="50ms", concurrency=4).run(until="drained")


def test_attributes_given_at_the_call_find_the_run(app: App) -> None:
    send = shop(app)
    handle = send.options(attributes={"order": 7, "total": 9.5, "vip": True}).enqueue("ann")
    send.enqueue("bob")
    many = send.options(attributes={"order": 8}).enqueue_many([("c",), ("d",)])
    assert [view.run.id for view in app.runs.find(attributes={"order": 7, "total": (">=", 9)}).data] == [handle.id]
    assert {view.run.id for view in app.runs.find(attributes={"order": [8]}).data} == {each.id for each in many}
    assert app.runs.attributes(handle.id) == {"order": 7, "total": 9.5, "vip": True}
    with pytest.raises(InvalidOption):
        send.options(attributes={"order": None})


def test_what_failed_is_previewed_and_retried_together(app: App) -> None:
    send = shop(app)
    handles = [send.enqueue(name) for name in "abc"]
    drained(app)
    act = app.runs.preview(task="send", error="smtp_down").retry()
    assert str(act) == "retry of 3 runs\n  3 failed: tried again as a new run"
    seen: list[tuple[int, int]] = []
    result = act.apply(progress=lambda done, total: seen.append((done, total)))
    assert (str(result), seen) == ("3 of 3 done", [(3, 3)])
    assert act.apply() == result  # a second call does nothing twice
    assert {view.run.rerun_of for view in app.runs.find(state="queued").data} == {handle.id for handle in handles}
    assert [item.outcome for item in app.runs.bulk.outcomes(act.id)] == ["done"] * 3


def test_a_rerun_is_validated_by_the_task_where_its_code_is_at_hand(app: App) -> None:
    send = shop(app)
    handle = send.enqueue("ann")
    drained(app)
    with pytest.raises(PayloadInvalid):
        app.runs.rerun(handle.id, {"whom": "bob"})
    assert app.runs.find(state="open").data == []
    again = app.runs.rerun(handle.id, {"to": "bob", "broken": False})
    drained(app)
    assert again.result(timeout="5s") == "sent to bob"
    assert app.runs.get(again.id).run.rerun_of == handle.id


def test_a_rerun_of_an_old_version_is_brought_to_the_new_one(new_app: NewApp) -> None:
    old = new_app()
    handle = shop(old).enqueue("ann")
    drained(old)
    new = new_app()

    @new.task(name="send", version=2)
    def send(whom: str) -> str:
        return f"sent to {whom}"

    @send.upcast(from_version=1)
    def to_whom(payload: dict[str, Any]) -> dict[str, Any]:
        return {"whom": payload["to"]}

    again = new.runs.rerun(handle.id)
    assert new.runs.get(again.id).version == 2
    drained(new)
    assert again.result(timeout="5s") == "sent to ann"


def test_a_worker_tells_what_it_is_so_that_the_nearest_miss_is_named(app: App) -> None:
    @app.task(name="train", requires={"gpu": "a100"})
    def train() -> None: ...

    handle = train.enqueue()

    async def look() -> str:
        async with app.running(poll="10ms", capabilities={"gpu": "t4"}, name="small"):
            await asyncio.to_thread(wait_until, lambda: app.workers, "the worker says hello")
            return str(await asyncio.to_thread(app.runs.explain, handle.id))

    told = asyncio.run(look())
    assert "nearest is small" in told
    assert "which is not gpu=a100 but t4" in told


KILLED = """
import os, signal, sys
from mainspring import Client
client = Client(sys.argv[1])
act = client.runs.preview(state="queued").cancel("all of them")
print(act.id, flush=True)
act.apply(progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done >= 200 else None)
"""


def test_an_act_whose_process_is_killed_in_the_middle_is_gone_on_with_and_done_once(app: App, url: str) -> None:
    send = shop(app)
    send.enqueue_many([(str(number),) for number in range(450)])
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), url], capture_output=True, text=True, timeout=60, check=False
    )
    assert killed.returncode == -9, killed.stderr
    act_id = killed.stdout.strip()
    assert app.runs.bulk.get(act_id).done == 200
    result = app.runs.bulk.apply(act_id)
    assert (result.done, result.total) == (450, 450)
    assert app.runs.counts() == {"cancelled": 450}


# -- namespaces --------------------------------------------------------------------------------------------------------


def everything(app: App) -> dict[str, Any]:
    """All that can be read of a namespace, run by run."""
    client = app.client
    runs = client.runs.list(limit=500).data
    return {
        "runs": runs,
        "each": {view.run.id: (client.runs.events(view.run.id), client.runs.attributes(view.run.id)) for view in runs},
        "counts": client.runs.counts(),
        "letters": client.dead_letters.list(closed=True, limit=500).data,
        "queues": client.queues.list(),
        "limits": client.limits.list(),
        "acts": client.runs.bulk.list(),
        "workers": client.workers(),
    }


@pytest.fixture
def pair(new_app: NewApp) -> tuple[App, App, dict[str, str]]:
    """Two namespaces with the same names, keys and attributes in them; and a run of the first in each kind of state."""
    apps: list[App] = []
    made: dict[str, str] = {}
    for name in ("red", "blue"):
        app = new_app("shop", namespace=name)
        app.queue("mail", limits=[Limit(3)])
        send = shop(app)
        labelled = send.options(attributes={"order": 7})
        made.setdefault("failed", labelled.enqueue("a").id)
        labelled.enqueue("b")
        made.setdefault("done", labelled.options(key="k").enqueue("c", broken=False).id)
        drained(app)
        made.setdefault("queued", labelled.options(queue="mail", singleton="s").enqueue("d").id)
        made.setdefault("scheduled", labelled.options(delay="1h").enqueue("e").id)
        made.setdefault("parked", send.enqueue("f").id)
        apps.append(app)
    return apps[0], apps[1], made


READS: dict[str, Callable[[Client, str], Any]] = {
    "get": lambda client, run_id: client.runs.get(run_id),
    "events": lambda client, run_id: client.runs.events(run_id),
    "attempts": lambda client, run_id: client.runs.attempts(run_id),
    "attributes": lambda client, run_id: client.runs.attributes(run_id),
    "explain": lambda client, run_id: client.runs.explain(run_id),
    "why": lambda client, run_id: client.runs.why(run_id),
}
ACTS: dict[str, Callable[[Client, str], Any]] = {
    "cancel": lambda client, run_id: client.runs.cancel(run_id, reason="x"),
    "retry": lambda client, run_id: client.runs.retry(run_id),
    "rerun": lambda client, run_id: client.runs.rerun(run_id),
    "reschedule": lambda client, run_id: client.runs.reschedule(run_id, delay="1m"),
    "run_soon": lambda client, run_id: client.runs.run_soon(run_id),
    "set_priority": lambda client, run_id: client.runs.set_priority(run_id, 3),
    "resume": lambda client, run_id: client.runs.resume(run_id, "x"),
    "release": lambda client, run_id: client.runs.release(run_id, "x"),
    "fail": lambda client, run_id: client.runs.fail(run_id, "x"),
    "replay": lambda client, run_id: client.dead_letters.replay(run_id),
    "dismiss": lambda client, run_id: client.dead_letters.dismiss(run_id, "x"),
}


def test_no_read_and_no_act_on_a_run_reaches_into_another_namespace(pair: tuple[App, App, dict[str, str]]) -> None:
    red, blue, made = pair
    before = everything(red)
    for call in (*READS.values(), *ACTS.values()):
        for run_id in made.values():
            with pytest.raises(UnknownRun):
                call(blue.client, run_id)
    assert everything(red) == before


def test_no_act_on_many_and_no_setting_reaches_into_another_namespace(pair: tuple[App, App, dict[str, str]]) -> None:
    red, blue, _ = pair
    before = everything(red)
    mine = {view.run.id for view in before["runs"]}
    for asked in (
        {},
        {"state": "failed"},
        {"attributes": {"order": 7}},
        {"key": "k"},
        {"singleton": "s"},
        {"attributes": {"order": ...}},
    ):
        found = blue.runs.find(limit=500, **asked).data
        assert found
        assert not mine & {view.run.id for view in found}, asked
    for act in ("cancel", "retry", "rerun", "prune"):
        getattr(blue.runs.preview(), act)().apply()
    blue.runs.preview().set_priority(3).apply()
    blue.runs.preview().reschedule(delay="1s").apply()
    for letter in blue.dead_letters.list(limit=500).data:
        blue.dead_letters.dismiss(letter.run_id, "x")
    blue.runs.prune(older_than="0s")
    blue.queues.pause("mail")
    blue.limits.set("queue", "mail", Limit(0))
    blue.limits.set("pool", "gpus", Limit(1))
    blue.limits.set("namespace", limit=Limit(0))
    assert everything(red) == before
    assert not any(hold.kind in {"pause", "limit"} for hold in red.runs.explain(_queued(red)).holds)
    with pytest.raises(UnknownRun):
        red.runs.bulk.get(blue.runs.bulk.list()[0].id)
    with pytest.raises(UnknownRun):
        red.runs.bulk.apply(blue.runs.bulk.list()[0].id)


def _queued(app: App) -> str:
    return app.runs.find(state="queued", queue="mail").data[0].run.id


def test_keys_and_singletons_of_two_namespaces_are_two(pair: tuple[App, App, dict[str, str]]) -> None:
    _, blue, made = pair
    theirs = blue.runs.find(key="k").data[0].run.id
    assert theirs != made["done"]
    assert blue.runs.find(singleton="s").data[0].run.id != made["queued"]


def test_a_refusal_of_the_other_namespace_is_no_different_from_that_of_no_run(pair: tuple[App, App, dict[str, str]]) -> None:
    _, blue, made = pair
    nobody = "01985f3c-7a2b-7c1d-8e4f-0123456789ab"
    for call in (*READS.values(), *ACTS.values()):
        told = []
        for run_id in (made["done"], nobody):
            with pytest.raises(MainspringError) as refused:
                call(blue.client, run_id)
            told.append((type(refused.value), refused.value.message.replace(run_id, "ID")))
        assert told[0] == told[1]
