"""What is enqueued is found by what the task will get, and an error shows what there is instead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from unittest.mock import ANY

import pytest

from mainspring import App, Release, Task, batch
from mainspring.errors import InvalidOption
from mainspring.testing import Sandbox, assert_enqueued, drain, enqueued, refute_enqueued


@dataclass
class Address:
    street: str
    number: int = 1


@pytest.fixture
def send(app: App) -> Task[..., str]:
    app.queue("mail")

    @app.task(name="send", queue="mail", aliases=["post"])
    def send(to: str, subject: str = "hi", at: datetime | None = None, address: Address | None = None) -> str:
        return f"{subject} to {to}"

    return send


@pytest.fixture
def other(app: App) -> Task[..., None]:
    @app.task(name="other")
    def other(n: int) -> None:
        raise Release(after="1m")

    return other


def test_arguments_are_compared_as_the_task_will_get_them(box: Sandbox, send: Task[..., str]) -> None:
    instant = datetime.fromisoformat("2031-05-01T09:00:00+00:00")
    send.enqueue("ada", at=instant, address=Address("High Street", 7))
    assert_enqueued(box, send, args={"at": instant, "address": Address("High Street", 7)})
    with pytest.raises(AssertionError):
        assert_enqueued(box, send, args={"address": Address("High Street")})


def test_a_mapping_names_some_arguments_and_defaults_count(box: Sandbox, send: Task[..., str]) -> None:
    send.enqueue("ada")
    assert_enqueued(box, send, args={"subject": "hi"})
    assert_enqueued(box, send, args={})
    refute_enqueued(box, send, args={"subject": "hi", "to": "grace"})


def test_a_tuple_gives_the_first_arguments(box: Sandbox, send: Task[..., str]) -> None:
    send.enqueue("ada", "news")
    assert_enqueued(box, send, args=("ada",))
    assert_enqueued(box, send, args=["ada", "news"])
    refute_enqueued(box, send, args=("news",))


def test_anything_that_answers_equal_may_stand_for_a_value(box: Sandbox, send: Task[..., str]) -> None:
    class LongerThan(int):
        def __eq__(self, value: object) -> bool:
            return isinstance(value, str) and len(value) > int(self)

        __hash__ = int.__hash__

    send.enqueue("ada", address=Address("High Street"))
    assert_enqueued(box, send, args={"to": ANY, "address": ANY})
    assert_enqueued(box, send, args={"to": LongerThan(2)})
    refute_enqueued(box, send, args={"to": LongerThan(3)})


def test_a_parameter_the_task_does_not_have_is_a_mistake_of_the_test(box: Sandbox, send: Task[..., str]) -> None:
    with pytest.raises(InvalidOption, match=r"send takes \(to, subject, at, address\); there is no adress"):
        refute_enqueued(box, send, args={"adress": None})
    with pytest.raises(InvalidOption, match="there is no argument 5"):
        refute_enqueued(box, send, args=(1, 2, 3, 4, 5))
    with pytest.raises(InvalidOption, match="mapping"):
        refute_enqueued(box, send, args="ada")


def test_queue_keys_priority_and_due_time_are_compared(
    box: Sandbox, app: App, send: Task[..., str], other: Task[..., None]
) -> None:
    send.options(delay="10s", key="order-7", priority=3).enqueue("ada")
    other.options(singleton="one").enqueue(1)
    found = assert_enqueued(box, send, queue="mail", key="order-7", priority=3, due_in="10s", count=1)
    assert (found[0].due_in, found[0].key) == (timedelta(seconds=10), "order-7")
    assert_enqueued(box, due_in=("9s", "11s"), count=1)
    assert_enqueued(box, singleton="one", due_in=0)
    for wrong in ({"queue": "default"}, {"key": "order-8"}, {"priority": 0}, {"due_in": "9s"}, {"due_in": ("11s", "1h")}):
        refute_enqueued(box.app, send, **wrong)


def test_time_that_passes_brings_what_waits_nearer(box: Sandbox, send: Task[..., str]) -> None:
    send.options(delay="10s").enqueue("ada")
    box.clock.advance("7s")
    assert_enqueued(box, send, due_in="3s")
    box.clock.advance("7s")
    assert_enqueued(box, send, due_in="0s")


def test_a_run_counts_while_it_waits_and_no_longer(box: Sandbox, send: Task[..., str], other: Task[..., None]) -> None:
    then = batch([other.call(1)], then=send.call("ada")).enqueue()
    drain(box)
    assert sorted(run.state for run in enqueued(box)) == ["blocked", "released"]
    box.client.runs.cancel(then.members[0])
    assert_enqueued(box, send, count=1)
    drain(box)
    refute_enqueued(box)


def test_runs_come_in_the_order_in_which_they_were_created(box: Sandbox, send: Task[..., str]) -> None:
    send.enqueue_many([(str(n),) for n in range(1200)])
    assert [run.args["to"] for run in enqueued(box, send)] == [str(n) for n in range(1200)]


def test_an_alias_is_the_task_itself(box: Sandbox, send: Task[..., str]) -> None:
    box.client.enqueue("post", queue="mail", to="ada")
    assert_enqueued(box, send, args={"to": "ada", "subject": "hi"})
    assert_enqueued(box, "send", args={"to": "ada"})
    assert_enqueued(box, "post", args={"to": "ada"})


def test_a_task_that_this_app_does_not_have_is_compared_as_json(box: Sandbox) -> None:
    box.client.enqueue("elsewhere", a=1, b=[2])
    assert_enqueued(box, "elsewhere", args={"b": [2]})
    assert_enqueued(box, "elsewhere", args=(1,))
    refute_enqueued(box, "elsewhere", args={"c": 1})
    refute_enqueued(box, "elsewhere", args=(1, [2], 3))


def test_an_error_shows_what_waits_and_in_what_it_differs(box: Sandbox, send: Task[..., str], other: Task[..., None]) -> None:
    other.enqueue(1)
    send.options(delay="1h", key="k").enqueue("ada", subject="news")
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(box, send, args={"to": "grace", "subject": "news"}, due_in="5m")
    assert str(caught.value).splitlines() == [
        "no run waits of send, with to='grace', subject='news', due in 5m",
        "2 runs wait:",
        "  send(to='ada', subject='news', at=None, address=None): queue mail, due in 1h, key 'k'  <- to is 'ada', is due in 1h",
        "  other(n=1): queue default, due now",
    ]


def test_an_error_tells_how_many_there_are_instead(box: Sandbox, send: Task[..., str]) -> None:
    send.enqueue_many([("ada",), ("grace",)])
    with pytest.raises(AssertionError, match="not 1 but 2 runs wait of send, with subject='hi'"):
        assert_enqueued(box, send, args={"subject": "hi"}, count=1)
    assert len(assert_enqueued(box, send, count=2)) == 2
    assert assert_enqueued(box, send, args={"to": "nobody"}, count=0) == []


def test_an_error_says_that_the_run_has_ended_already(box: Sandbox, send: Task[..., str]) -> None:
    send.enqueue("ada")
    drain(box)
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(box, send)
    assert str(caught.value).splitlines() == [
        "no run waits of send",
        "no runs wait",
        "of send have ended already: 1 succeeded",
    ]


def test_a_refutation_shows_what_should_not_be_there(box: Sandbox, send: Task[..., str]) -> None:
    send.enqueue("ada")
    with pytest.raises(AssertionError) as caught:
        refute_enqueued(box)
    assert str(caught.value).splitlines() == [
        "1 run waits of any task, and none should:",
        "  send(to='ada', subject='hi', at=None, address=None): queue mail, due now",
    ]


def test_an_error_about_many_runs_stays_short(box: Sandbox, send: Task[..., str]) -> None:
    send.enqueue_many([("ada",)] * 50)
    with pytest.raises(AssertionError, match="and 30 more"):
        assert_enqueued(box, send, args={"to": "grace"})
