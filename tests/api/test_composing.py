"""Chains, results as arguments, upstreams and batches, as a program writes them; run by a worker, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mainspring import App, Context, Encrypted, Fail, PayloadInvalid, RunFailed, batch, chain, result_of
from mainspring.codec import Memory
from mainspring.composing import Batch, Call
from mainspring.core.states import State
from mainspring.errors import InvalidOption, LeaseLost, UnknownRun
from mainspring.operations.batches import Fence
from tests.api.conftest import Drain, NewApp
from tests.support.loops import in_loop


def state(app: App, run_id: str) -> State:
    return app.runs.get(run_id).run.state


# -- chains ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["async", "thread"])
def test_each_call_of_a_chain_gets_the_result_of_the_one_before(app: App, drain: Drain, executor: Any) -> None:
    @app.task
    def fetch(url: str) -> dict[str, int]:
        return {url: 20}

    if executor == "async":

        @app.task
        async def parse(page: dict[str, int], scale: int = 2) -> int:
            return scale * sum(page.values())
    else:

        @app.task
        def parse(page: dict[str, int], scale: int = 2) -> int:
            return scale * sum(page.values())

    @app.task
    def store(total: int) -> str:
        return f"stored {total}"

    handle = chain(fetch.call("x"), parse.call(), store.call()).enqueue()
    assert [state(app, step.id) for step in handle.steps] == [State.QUEUED, State.BLOCKED, State.BLOCKED]
    drain(app)
    assert handle.result(timeout="10s") == "stored 40"
    assert [step.result(timeout="10s") for step in handle.steps[:2]] == [{"x": 20}, 40]


def test_a_result_may_go_elsewhere_and_further_down(app: App, drain: Drain) -> None:
    @app.task
    def number(n: int, plus: int = 0) -> int:
        return n + plus

    @app.task
    def join(mark: str, a: int, b: int = 0) -> str:
        return f"{mark} {a} {b}"

    first, second = number.call(1), number.call(result_of(number.call(0)))
    with pytest.raises(InvalidOption, match="not an earlier one of this chain"):
        chain(first, second).enqueue()
    with pytest.raises(PayloadInvalid, match="too many"):  # its result comes first, and there is no room for more
        chain(first, join.call("!", 1, 2)).enqueue()
    second = number.call(plus=4)  # type: ignore[call-overload]
    handle = chain(first, second, join.call("!", result_of(second), b=result_of(first))).enqueue()
    drain(app)
    assert handle.result(timeout="10s") == "! 5 1"


def test_a_step_that_takes_nothing_is_given_nothing(app: App, drain: Drain) -> None:
    @app.task
    def first() -> int:
        return 1

    @app.task
    def then(ctx: Context) -> str:
        return ctx.task.rpartition(".")[2]

    handle = chain(first.call(), then.call()).enqueue()
    drain(app)
    assert handle.result(timeout="10s") == "then"


def test_a_chain_ends_with_the_step_that_fails(app: App, drain: Drain) -> None:
    @app.task
    def bad() -> int:
        raise Fail("bad")

    @app.task
    def after(n: int) -> int:
        return n

    handle = chain(bad.call(), after.call(), after.call()).enqueue()
    drain(app)
    assert [state(app, step.id) for step in handle.steps] == [State.FAILED, State.UPSTREAM_FAILED, State.UPSTREAM_FAILED]
    with pytest.raises(RunFailed):
        handle.result(timeout="10s")


def test_a_result_that_does_not_fit_parks_the_next_step(app: App, drain: Drain) -> None:
    @app.task
    def words() -> Any:
        return "no number"

    @app.task
    def double(n: int) -> int:
        return 2 * n

    handle = chain(words.call(), double.call()).enqueue()
    drain(app)
    run = app.runs.get(handle.id).run
    assert (run.state, run.reason, run.failures) == (State.NEEDS_ATTENTION, "invalid_payload", 0)


def test_a_step_that_was_cancelled_can_be_run_again_with_the_result_it_was_made_for(app: App, drain: Drain) -> None:
    @app.task
    def one() -> int:
        return 1

    @app.task
    def add(n: int, more: int = 1) -> int:
        return n + more

    handle = chain(one.call(), add.call()).enqueue()
    app.runs.cancel(handle.id, reason="too early")
    again = app.runs.rerun(handle.id)
    drain(app)
    assert again.result(timeout="10s") == 2


def test_a_chain_is_tried_again_from_the_step_that_failed(app: App, drain: Drain) -> None:
    broken = [True]

    @app.task
    def one() -> int:
        return 1

    @app.task(retries=0)
    def flaky(n: int) -> int:
        if broken:
            raise Fail("bad")
        return n + 1

    @app.task
    def add(n: int, more: int = 1) -> int:
        return n + more

    first = one.call()
    handle = chain(first, flaky.call(), add.call(), add.call(more=result_of(first))).enqueue()  # type: ignore[call-overload]
    drain(app)
    broken.clear()
    lonely = app.runs.list(limit=500).data
    again = app.runs.retry(handle.steps[1].id, with_dependants=True)
    assert app.runs.retry(handle.steps[1].id, with_dependants=True).id == again.id
    drain(app)
    new = [view.run for view in app.runs.list(limit=500).data if view.run.id not in {each.run.id for each in lonely}]
    assert [run.rerun_of for run in sorted(new, key=lambda run: run.id)] == [step.id for step in handle.steps[1:]]
    assert {run.state for run in new} == {State.SUCCEEDED}
    assert app.client.handle(max(run.id for run in new)).result(timeout="10s") == 4
    assert state(app, handle.id) is State.UPSTREAM_FAILED


def test_what_is_wrong_with_a_chain_is_told_before_anything_is_written(app: App) -> None:
    @app.task
    def plain(n: int, m: int = 0) -> int:
        return n

    @app.task(key="k")
    def keyed(n: int) -> int:
        return n

    with pytest.raises(PayloadInvalid):
        plain.call("one")  # type: ignore[call-overload]
    with pytest.raises(PayloadInvalid, match="m"):
        chain(plain.call(1), plain.call(m="two")).enqueue()  # type: ignore[call-overload]
    with pytest.raises(InvalidOption, match="takes no key"):
        chain(plain.call(1), keyed.call()).enqueue()
    with pytest.raises(InvalidOption, match="nothing"):
        chain()
    with pytest.raises(InvalidOption, match="made of calls"):
        chain(plain)  # type: ignore[call-overload]
    with pytest.raises(PayloadInvalid):
        _ = plain.call().request
    assert app.runs.list().data == []


@in_loop
async def test_a_chain_is_created_from_an_event_loop(app: App) -> None:
    @app.task
    async def one() -> int:
        return 1

    @app.task
    async def add(n: int) -> int:
        return n + 1

    handle = await chain(one.call(), add.call(), add.call()).aenqueue()
    async with app.running(poll="50ms"):
        assert await handle == 3


def test_sealed_results_reach_the_next_step(new_app: NewApp, drain: Drain) -> None:
    app = new_app(codec=Encrypted(keys={"k": b"0" * 32}, current="k"), blobs=Memory())

    @app.task
    def one() -> list[int]:
        return [1]

    @app.task
    def more(items: list[int]) -> list[int]:
        return [*items, 2]

    handle = chain(one.call(), more.call()).enqueue()
    drain(app)
    assert handle.result(timeout="10s") == [1, 2]


# -- after= ------------------------------------------------------------------------------------------------------------


def test_a_call_waits_for_handles_and_takes_their_results(app: App, drain: Drain) -> None:
    @app.task
    def number(n: int) -> int:
        return n

    @app.task
    def total(a: int, b: int) -> int:
        return a + b

    a, b = number.enqueue(1), number.enqueue(2)
    both = total.enqueue(result_of(a), result_of(b))
    late = total.options(after=[both.id, a]).enqueue(5, 5)
    assert [state(app, run.id) for run in (both, late)] == [State.BLOCKED, State.BLOCKED]
    drain(app)
    assert (both.result(timeout="10s"), late.result(timeout="10s")) == (3, 10)
    assert app.runs.why(late.id) is None


def test_whoever_waits_for_a_failure_begins_with_it(app: App, drain: Drain) -> None:
    @app.task
    def bad() -> int:
        raise Fail("bad")

    @app.task
    def note(text: str, found: int | None = 7) -> str:
        return f"{text} {found}"

    upstream = bad.enqueue()
    failed = note.options(after=[upstream], on="failed").enqueue("sorry", result_of(upstream))
    done = note.options(after=[upstream], on="done").enqueue("over")
    vain = note.options(after=[upstream]).enqueue("never")
    drain(app)
    assert (failed.result(timeout="10s"), done.result(timeout="10s")) == ("sorry None", "over 7")
    assert state(app, vain.id) is State.UPSTREAM_FAILED


def test_upstreams_that_cannot_be_are_refused(app: App) -> None:
    @app.task
    def work() -> None: ...

    unknown = "01900000-0000-7000-8000-000000000000"
    with pytest.raises(UnknownRun, match=unknown):
        work.options(after=[unknown]).enqueue()
    for after, told in ((unknown, "list of handles"), ([3], "list of handles"), ([unknown] * 1001, "1,000 is the most")):
        with pytest.raises(InvalidOption, match=told):
            work.options(after=after)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="on= is"):
        work.options(after=[unknown], on="never")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="nobody to wait for"):
        work.options(on="done")


def test_a_dependant_exists_only_if_the_callers_transaction_commits(app: App, drain: Drain, back_end: str) -> None:
    @app.task
    def work() -> int:
        return 1

    upstream = work.enqueue()
    if back_end == "sqlite":
        with app.connection() as connection:
            waits = work.options(using=connection, after=[upstream]).enqueue()
    else:
        import psycopg

        with psycopg.connect(app.client.database.conninfo) as connection:
            lost = work.options(using=connection, after=[upstream]).enqueue()
            connection.rollback()
        with pytest.raises(UnknownRun):
            app.runs.get(lost.id)
        with psycopg.connect(app.client.database.conninfo) as connection:
            waits = work.options(using=connection, after=[upstream]).enqueue()
    assert state(app, waits.id) is State.BLOCKED
    drain(app)
    assert waits.result(timeout="10s") == 1


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shop(app: App) -> App:
    """Tasks for batches."""

    @app.task(name="resize", retries=0)
    def resize(n: int) -> int:
        if n < 0:
            raise Fail("negative")
        return n * n

    @app.task(name="summary")
    def summary(what: str, ctx: Context) -> list[Any]:
        return [what, *(member.result if member.state is State.SUCCEEDED else str(member.state) for member in ctx.members())]

    @app.task(name="grow")
    def grow(n: int, ctx: Context) -> int:
        if n < 4:
            ctx.batch.add([Call(app, ctx_spec(app, "grow"), ctx_spec(app, "grow").options, (n + 1,), {})])
        else:
            ctx.batch.seal()
        return n

    return app


def ctx_spec(app: App, name: str) -> Any:
    return app.registry.get(name)


def call(app: App, task: str, *args: Any) -> Call[Any]:
    return Call(app, app.registry.get(task), app.registry.get(task).options, args, {})


@pytest.mark.case("jobs", 44)
def test_all_callbacks_of_a_batch_start_once_each_and_see_results_in_member_order(shop: App, drain: Drain) -> None:
    sent = batch(
        [call(shop, "resize", n) for n in (3, -1, 2)],
        done=call(shop, "summary", "done"),
        any_failed=call(shop, "summary", "alarm"),
        all_succeeded=call(shop, "summary", "well"),
    ).enqueue()
    assert {state(shop, handle.id) for handle in sent.callbacks.values()} == {State.BLOCKED}
    drain(shop)
    assert sent.callbacks["done"].result(timeout="10s") == ["done", 9, "failed", 4]
    assert sent.callbacks["any_failed"].result(timeout="10s")[0] == "alarm"
    assert state(shop, sent.callbacks["all_succeeded"].id) is State.UPSTREAM_FAILED
    found = shop.batches.get(sent.id)
    assert (found.total, found.open, found.succeeded, found.failed, found.stopped, found.is_over) == (3, 0, 2, 1, 0, True)
    attempts = {on: len(shop.runs.attempts(handle.id)) for on, handle in sent.callbacks.items()}
    assert attempts == {"done": 1, "any_failed": 1, "all_succeeded": 0}


def test_a_batch_that_went_well_raises_no_alarm(shop: App, drain: Drain) -> None:
    sent = batch([call(shop, "resize", 1)], any_failed=call(shop, "summary", "alarm"), done=call(shop, "summary", "done")).enqueue()
    drain(shop)
    assert state(shop, sent.callbacks["any_failed"].id) is State.UPSTREAM_FAILED
    assert sent.callbacks["done"].result(timeout="10s") == ["done", 1]


@pytest.mark.case("jobs", 44)
def test_an_empty_batch_starts_its_callbacks(shop: App, drain: Drain) -> None:
    sent = batch([], then=call(shop, "summary", "empty"), on="all_succeeded").enqueue()
    drain(shop)
    assert sent.callback is not None
    assert sent.callback.result(timeout="10s") == ["empty"]


def test_members_that_run_let_others_join_until_one_seals(shop: App, drain: Drain) -> None:
    sent = batch([call(shop, "grow", 1)], done=call(shop, "summary", "grown"), open=True).enqueue()
    drain(shop)
    assert sent.callbacks["done"].result(timeout="10s") == ["grown", 1, 2, 3, 4]
    with pytest.raises(InvalidOption, match="sealed"):
        sent.add([call(shop, "grow", 9)])


def test_an_open_batch_waits_for_its_seal_though_every_member_has_ended(shop: App, drain: Drain) -> None:
    sent = batch([call(shop, "resize", 1)], done=call(shop, "summary", "done"), open=True).enqueue()
    drain(shop)
    assert state(shop, sent.callbacks["done"].id) is State.BLOCKED
    shop.batches.add(sent.id, [call(shop, "resize", 2)])
    sent.seal()
    assert state(shop, sent.callbacks["done"].id) is State.BLOCKED
    drain(shop)
    assert sent.callbacks["done"].result(timeout="10s") == ["done", 1, 4]


def test_a_member_whose_lease_is_lost_lets_nobody_join(shop: App) -> None:
    sent = batch([call(shop, "resize", 1)], open=True).enqueue()
    with pytest.raises(LeaseLost):
        shop.client.batches.add(sent.id, [call(shop, "resize", 2)], fence=Fence(sent.members[0], 1))
    assert shop.batches.get(sent.id).total == 1


def test_a_large_batch_is_created_piece_by_piece_and_sealed_at_the_end(shop: App) -> None:
    def many() -> Iterator[Call[Any]]:
        for n in range(2_500):
            if n == 2_400:
                totals.append(shop.batches.get(first_batch(shop)).total)
            yield call(shop, "resize", n)

    totals: list[int] = []
    sent = batch(many(), done=call(shop, "summary", "done")).enqueue()
    found = shop.batches.get(sent.id)
    assert totals == [2_000]
    assert (found.total, found.open, found.sealed_at is not None, len(sent.members)) == (2_500, 2_500, True, 2_500)


def first_batch(app: App) -> str:
    (run, *_) = app.runs.list(limit=1).data
    return run.run.batch_id or ""


def test_a_caller_that_dies_in_the_midst_leaves_no_early_callback(shop: App, drain: Drain) -> None:
    def broken() -> Iterator[Call[Any]]:
        for n in range(3_000):
            if n == 2_100:
                raise RuntimeError("the caller dies")
            yield call(shop, "resize", n)

    with pytest.raises(RuntimeError):
        batch(broken(), done=call(shop, "summary", "done")).enqueue()
    blocked = shop.runs.list(states=["blocked"]).data
    found = shop.batches.get(first_batch(shop))
    assert (len(blocked), found.sealed_at, found.total) == (1, None, 2_000)


def test_cancelling_a_batch_cancels_its_members_and_the_done_callback_still_runs(shop: App, drain: Drain) -> None:
    sent = batch(
        [call(shop, "resize", n) for n in range(250)],
        done=call(shop, "summary", "done"), all_succeeded=call(shop, "summary", "well"), any_failed=call(shop, "summary", "alarm"),
    ).enqueue()  # fmt: skip
    sent.cancel(reason="no longer wanted")
    found = shop.batches.get(sent.id)
    assert (found.open, found.stopped, found.cancelled_at is not None) == (0, 250, True)
    assert [state(shop, sent.callbacks[on].id) for on in ("all_succeeded", "any_failed")] == [State.UPSTREAM_FAILED] * 2
    drain(shop)
    assert sent.callbacks["done"].result(timeout="10s")[:2] == ["done", "cancelled"]
    with pytest.raises(InvalidOption, match="sealed"):
        sent.add([call(shop, "resize", 1)])


def test_what_is_wrong_with_a_batch_is_told(shop: App) -> None:
    one = call(shop, "resize", 1)
    with pytest.raises(InvalidOption, match="on must be"):
        batch([one], then=one, on="sometimes")  # type: ignore[call-overload]
    with pytest.raises(InvalidOption, match="two callbacks"):
        batch([one], then=one, done=one)
    with pytest.raises(InvalidOption, match="nothing"):
        batch([])
    with pytest.raises(InvalidOption, match="nothing"):
        batch(iter(())).enqueue()
    with pytest.raises(UnknownRun):
        shop.batches.get("01900000-0000-7000-8000-000000000000")


def test_a_run_outside_a_batch_has_none(app: App, drain: Drain) -> None:
    @app.task(retries=0)
    def alone(ctx: Context) -> None:
        ctx.batch.seal()

    handle = alone.enqueue()
    drain(app)
    with pytest.raises(RunFailed, match="no member of a batch"):
        handle.result(timeout="10s")


def test_a_run_may_wait_for_a_batch(shop: App, drain: Drain) -> None:
    sent = batch([call(shop, "resize", 1), call(shop, "resize", 2)]).enqueue()
    spec = shop.registry.get("summary")
    options = shop.registry.changed(spec.options, after=[sent], on="done")
    handle = shop.client.submit([spec.request(spec.about(shop.namespace, options), options, ("behind",), {})])[0]
    drain(shop)
    assert handle.result(timeout="10s") == ["behind", 1, 4]


# -- batches inside batches ------------------------------------------------------------------------------------------------


def test_a_batch_inside_a_batch_is_counted_by_the_callback_that_stands_for_it(app: App, drain: Drain) -> None:
    order: list[str] = []

    @app.task
    def say(word: str) -> str:
        order.append(word)
        return word

    @app.task
    def words(ctx: Context, name: str) -> list[Any]:
        found = [member.result for member in ctx.members()]
        order.append(name)
        return found

    inner = batch([say.call("b"), say.call("c")], then=words.call("inner"), on="all_succeeded")
    outer = batch([say.call("a"), inner, say.call("d")], then=words.call("outer"), on="all_succeeded").enqueue()
    drain(app)
    assert outer.callback is not None
    assert outer.callback.result(timeout=1) == ["a", ["b", "c"], "d"]
    assert order.index("inner") > max(order.index("b"), order.index("c"))
    assert order[-1] == "outer"
    assert len(outer.members) == 3


def test_what_fails_inside_fails_the_batch_around_it(app: App, drain: Drain) -> None:
    @app.task(max_attempts=1)
    def fail() -> None:
        raise ValueError

    @app.task
    def after() -> None: ...

    inner = batch([fail.call()], then=after.call(), on="all_succeeded")
    outer = batch([inner], all_succeeded=after.call(), done=after.call()).enqueue()
    drain(app)
    states = {on: app.runs.get(handle.id).run.state for on, handle in outer.callbacks.items()}
    assert states == {"all_succeeded": "upstream_failed", "done": "succeeded"}
    assert app.batches.get(outer.id).failed == 1


def test_cancelling_a_batch_cancels_those_inside_it(app: App, drain: Drain) -> None:
    @app.task
    def work() -> None: ...

    @app.task
    def after() -> None: ...

    inmost = batch([work.call(), work.call()], then=after.call(), on="all_succeeded")
    inner = batch([inmost, work.call()], then=after.call(), on="all_succeeded")
    outer = batch([work.call(), inner], then=after.call(), on="done").enqueue()
    outer.cancel()
    assert app.runs.counts() == {"cancelled": 4, "upstream_failed": 2, "queued": 1}
    drain(app)
    assert app.batches.get(outer.id).is_over
    assert outer.callback is not None
    assert app.runs.get(outer.callback.id).run.state == "succeeded"


def test_batches_go_eight_deep_and_no_deeper(app: App, drain: Drain) -> None:
    @app.task
    def work() -> None: ...

    def nested(depth: int) -> Batch[None]:
        return batch([work.call() if depth == 1 else nested(depth - 1)], then=work.call(), on="all_succeeded")

    with pytest.raises(InvalidOption, match="8 deep"):
        nested(9).enqueue()
    assert app.runs.counts() == {}
    handle = nested(8).enqueue()
    drain(app)
    assert app.runs.counts() == {"succeeded": 9}
    assert handle.callback is not None
    assert handle.callback.result(timeout=1) is None


def test_a_batch_inside_a_batch_that_nothing_could_stand_for_is_refused_and_nothing_is_created(app: App) -> None:
    @app.task
    def work() -> None: ...

    listed: list[Call[None] | Batch[None]] = [work.call(), batch([work.call()], then=work.call())]
    for inner, option in (
        (batch([work.call()]), "then"),
        (batch([work.call()], any_failed=work.call()), "then"),
        (batch([work.call()], then=work.call(), open=True), "open"),
        (batch([work.call()] * 1000, then=work.call()), "members"),
        (batch(iter(listed), then=work.call()), "members"),
    ):
        with pytest.raises(InvalidOption) as refused:
            batch([work.call(), inner], then=work.call()).enqueue()
        assert refused.value.details["option"] == option
    assert app.runs.counts() == {}


def test_what_is_no_call_is_refused_saying_what_to_write(app: App) -> None:
    @app.task
    def one(x: int = 0) -> int:
        return x

    for wrong in (lambda: chain(one), lambda: batch([one]).enqueue(), lambda: batch([one.call()], then=one)):  # type: ignore[call-overload, list-item]
        with pytest.raises(InvalidOption, match=r"is made of calls, task\.call\(\.\.\.\), not Task\("):
            wrong()
    assert app.runs.counts() == {}
