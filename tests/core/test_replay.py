"""Workflows by hand, input by input: what they ask for, what they get, and what a replay of other code is told."""

from __future__ import annotations

import asyncio

import pytest

from mainspring.core.commands import EndsAs, Failure, Input, InputType, Kind, StepFailed, TurnRefused
from mainspring.core.replay import Delivery, History, Instance, advance
from mainspring.errors import BrokenInvariant
from tests.core.test_loop import SECOND, Main, Told, asked, value_of


def signal(told: Told, name: str, body: bytes) -> Delivery:
    return told.tell(InputType.SIGNAL_RECEIVED, name=name, body=body)


def test_three_steps_reach_their_end_one_input_at_a_time() -> None:
    async def main(ctx: Instance) -> bytes:
        quote = await ctx.step(Kind.INLINE, "price", b"items")
        receipt = await ctx.step(Kind.ACTIVITY, "charge", quote)
        await ctx.sleep(3600 * SECOND)
        return receipt + b"!"

    told = Told(main)
    told.begin()
    assert told.instance.inline == [(1, "price", b"items")]
    (charge,) = told.tell(InputType.STEP_RECORDED, ordinal=1, body=b"9.99").commands
    assert (charge.ordinal, charge.cause, charge.kind, charge.name, charge.body) == (2, 2, Kind.ACTIVITY, "charge", b"9.99")
    assert told.instance.inline == []
    assert asked(told.tell(InputType.STEP_SUCCEEDED, ordinal=2, body=b"paid")) == [(Kind.TIMER, 3600 * SECOND)]
    assert value_of(told.fire(3, after=3600 * SECOND)) == b"paid!"


def test_a_step_that_failed_raises_with_reason_type_message_and_attempts() -> None:
    async def main(ctx: Instance) -> tuple[str, str | None, str, int]:
        with pytest.raises(StepFailed) as raised:
            await ctx.step(Kind.ACTIVITY, "charge", b"")
        failed = raised.value
        return failed.reason, failed.type, failed.message, failed.attempts

    told = Told(main)
    told.begin()
    failure = Failure(reason="error", type="CardDeclined", message="no money", attempts=5)
    assert value_of(told.tell(InputType.STEP_FAILED, ordinal=1, failure=failure)) == ("error", "CardDeclined", "no money", 5)


def test_a_signal_that_came_before_its_wait_is_kept_for_it_and_names_are_apart() -> None:
    async def main(ctx: Instance) -> list[bytes]:
        await ctx.step(Kind.ACTIVITY, "slow", b"")
        return [await ctx.signal("b"), await ctx.signal("a"), await ctx.signal("a")]

    told = Told(main)
    told.begin()
    signal(told, "a", b"first a")
    signal(told, "b", b"only b")
    signal(told, "c", b"nobody's")
    waiting = told.tell(InputType.STEP_SUCCEEDED, ordinal=1)
    assert [(each.name, each.taken) for each in waiting.commands] == [("b", 3), ("a", 2), ("a", None)]
    assert value_of(signal(told, "a", b"second a")) == [b"only b", b"first a", b"second a"]
    assert told.instance.unread == {"c": 1}


def test_of_a_signal_and_its_timeout_the_smaller_seq_wins() -> None:
    async def main(ctx: Instance) -> bytes:
        try:
            return await ctx.signal("approved", timeout_us=3 * SECOND)
        except TimeoutError:
            return b"nobody"

    early, late = Told(main), Told(main)
    assert [each.delay_us for each in early.begin().commands] == [3 * SECOND]
    over = signal(early, "approved", b"ann")
    assert asked(over) == [(Kind.CANCEL_TIMER, 1)]
    assert value_of(over) == b"ann"
    late.begin()
    over = late.fire(1, after=3 * SECOND)
    assert asked(over) == []
    assert value_of(over) == b"nobody"
    assert signal(late, "approved", b"too late").commands == ()


def test_waits_for_one_name_are_served_in_their_order() -> None:
    async def main(ctx: Instance) -> list[bytes]:
        return list(await asyncio.gather(ctx.signal("go"), ctx.signal("go")))

    told = Told(main)
    told.begin()
    signal(told, "go", b"1")
    assert value_of(signal(told, "go", b"2")) == [b"1", b"2"]


def test_a_wait_that_was_cancelled_takes_no_message_from_the_next() -> None:
    async def main(ctx: Instance) -> tuple[bool, bytes]:
        first = asyncio.create_task(ctx.signal("approved"))
        second = asyncio.create_task(ctx.signal("approved"))
        await ctx.sleep(SECOND)
        first.cancel()
        got = await second
        return first.cancelled(), got

    told = Told(main)
    ordinals = {each.kind: each.ordinal for each in told.begin().commands}
    told.fire(ordinals[Kind.TIMER], after=SECOND)
    assert value_of(signal(told, "approved", b"ann")) == (True, b"ann")


def test_cancel_is_an_input_and_its_clean_up_runs_and_is_not_interrupted_again() -> None:
    async def main(ctx: Instance) -> None:
        try:
            await ctx.sleep(SECOND)
        except asyncio.CancelledError:
            await ctx.step(Kind.ACTIVITY, "undo", b"")
            raise

    told = Told(main)
    told.begin()
    assert asked(told.tell(InputType.CANCEL_REQUESTED)) == [(Kind.CANCEL_TIMER, 1), (Kind.ACTIVITY, None)]
    assert asked(told.tell(InputType.CANCEL_REQUESTED)) == []
    ended = told.tell(InputType.STEP_SUCCEEDED, ordinal=3).ended
    assert ended is not None
    assert ended.state is EndsAs.CANCELLED


@pytest.mark.parametrize(("asks", "state"), [(True, EndsAs.CANCELLED), (False, EndsAs.FAILED)])
def test_code_that_cancels_itself_fails_unless_it_was_asked(asks: bool, state: EndsAs) -> None:
    async def main(ctx: Instance) -> None:
        await ctx.signal("go")
        raise asyncio.CancelledError

    told = Told(main)
    told.begin()
    ended = (told.tell(InputType.CANCEL_REQUESTED) if asks else signal(told, "go", b"")).ended
    assert ended is not None
    assert ended.state is state


def test_chance_and_what_was_read_are_the_same_in_a_replay() -> None:
    read = iter([b"sunny", b"rainy"])

    async def main(ctx: Instance) -> list[object]:
        seen: list[object] = [ctx.uuid(), ctx.random.random(), ctx.value("weather", lambda: next(read))]
        await ctx.sleep(SECOND)
        return [*seen, ctx.uuid(), ctx.random.random(), ctx.now_us]

    first = Told(main)
    begun = first.begin()
    value = value_of(first.fire(2, after=SECOND))
    inputs = [
        Input(seq=1, type=InputType.CREATED, at=100 * SECOND),
        Input(seq=2, type=InputType.TIMER_FIRED, at=101 * SECOND, ordinal=2),
    ]
    again = Instance(main, seed=b"a seed")
    (last,) = advance(again, History(inputs=inputs, commands=begun.commands, seen=1))
    assert value_of(last) == value
    other = Instance(main, seed=b"another seed")
    (last,) = advance(other, History(inputs=inputs, commands=begun.commands, seen=1))
    assert value_of(last) != value


# -- divergence ------------------------------------------------------------------------------------------------------


async def pays_then_packs(ctx: Instance) -> None:
    await ctx.step(Kind.ACTIVITY, "pay", b"")
    await ctx.step(Kind.ACTIVITY, "pack", b"")


async def pays_then_waits(ctx: Instance) -> None:
    await ctx.step(Kind.ACTIVITY, "pay", b"")
    await ctx.sleep(60 * SECOND)


async def pays_then_mails(ctx: Instance) -> None:
    await ctx.step(Kind.ACTIVITY, "pay", b"")
    await ctx.step(Kind.ACTIVITY, "mail", b"")


async def packs_then_pays(ctx: Instance) -> None:
    await ctx.step(Kind.ACTIVITY, "pack", b"")
    await ctx.step(Kind.ACTIVITY, "pay", b"")


async def pays(ctx: Instance) -> None:
    await ctx.step(Kind.ACTIVITY, "pay", b"")


async def pays_packs_and_mails(ctx: Instance) -> None:
    await ctx.step(Kind.ACTIVITY, "pay", b"")
    await asyncio.gather(ctx.step(Kind.ACTIVITY, "pack", b""), ctx.step(Kind.ACTIVITY, "mail", b""))


def history_of_two_steps() -> History:
    told = Told(pays_then_packs)
    commands = [*told.begin().commands, *told.tell(InputType.STEP_SUCCEEDED, ordinal=1).commands]
    inputs = [
        Input(seq=1, type=InputType.CREATED, at=told.at),
        Input(seq=2, type=InputType.STEP_SUCCEEDED, at=told.at, ordinal=1),
        Input(seq=3, type=InputType.STEP_SUCCEEDED, at=told.at, ordinal=2),
    ]
    return History(inputs=inputs, commands=commands, seen=2)


@pytest.mark.parametrize(
    ("changed", "was", "now"),
    [
        (pays_then_waits, "ordinal 2   activity pack", "ordinal 2   timer of 60 s   core/test_replay.py:"),
        (pays_then_mails, "ordinal 2   activity pack", "ordinal 2   activity mail   core/test_replay.py:"),
        (packs_then_pays, "ordinal 1   activity pay", "ordinal 1   activity pack   core/test_replay.py:"),
        (pays, "ordinal 2   activity pack", "nothing"),
        (pays_packs_and_mails, "nothing", "ordinal 3   activity mail   core/test_replay.py:"),
    ],
)
def test_a_step_reordered_removed_added_or_renamed_is_told_with_both_sides_and_the_line(changed: Main, was: str, now: str) -> None:
    history = history_of_two_steps()
    assert advance(Instance(pays_then_packs, seed=b""), history)[-1].ended is not None
    with pytest.raises(TurnRefused) as refused:
        advance(Instance(changed, seed=b""), history)
    assert refused.value.code == "diverged"
    assert f"recorded   {was}" in refused.value.message
    assert f"made now   {now}" in refused.value.message


def test_the_line_of_a_command_is_one_of_the_code_and_never_of_who_drives_it() -> None:
    async def main(ctx: Instance) -> None:
        await asyncio.gather(ctx.sleep(SECOND), ctx.step(Kind.ACTIVITY, "pay", b""))

    step, timer = Told(main).begin().commands
    assert step.where.endswith(" in main")
    assert (timer.kind, timer.where) == (Kind.TIMER, "")


def test_an_inline_step_without_its_record_runs_again() -> None:
    async def main(ctx: Instance) -> None:
        ctx.step(Kind.ACTIVITY, "pack", b"")
        await ctx.step(Kind.INLINE, "price", b"items")

    told = Told(main)
    commands = [each for each in told.begin().commands if each.kind is not Kind.INLINE]
    again = Instance(main, seed=b"")
    created = Input(seq=1, type=InputType.CREATED, at=0)
    assert advance(again, History(inputs=[created], commands=commands, seen=1)) == []
    assert again.inline == [(2, "price", b"items")]


def test_a_history_that_was_not_read_whole_is_never_dispatched() -> None:
    history = history_of_two_steps()
    shortened = History(inputs=history.inputs[:1], commands=history.commands, seen=1)
    with pytest.raises(BrokenInvariant, match="not there"):
        advance(Instance(pays_then_packs, seed=b""), shortened)


def test_a_command_of_an_input_that_no_turn_has_seen_is_our_bug() -> None:
    history = history_of_two_steps()
    with pytest.raises(BrokenInvariant, match="not there"):
        advance(Instance(pays_then_packs, seed=b""), History(inputs=history.inputs, commands=history.commands, seen=1))


def test_an_inline_step_that_was_cancelled_is_not_run() -> None:
    async def main(ctx: Instance) -> None:
        pricing = ctx.step(Kind.INLINE, "price", b"items")
        await ctx.signal("enough")
        pricing.cancel()
        await ctx.signal("never")

    told = Told(main)
    told.begin()
    assert told.instance.inline == [(1, "price", b"items")]
    assert asked(signal(told, "enough", b"")) == [(Kind.WAIT, None)]
    assert told.instance.inline == []


def test_too_much_at_once_is_refused_and_no_exception_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.core.replay.MOST_OPEN", 10)

    async def main(ctx: Instance) -> None:
        await asyncio.gather(*(ctx.step(Kind.ACTIVITY, "pack", b"") for _ in range(11)))

    with pytest.raises(TurnRefused) as refused:
        Told(main).begin()
    assert refused.value.code == "limit"
