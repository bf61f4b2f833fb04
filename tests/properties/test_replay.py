"""Any workflow, any order of events, any cut into turns, with or without what is cached: the same commands and the same end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mainspring.core.commands import Command, Failure, Input, InputType, Kind, StepFailed
from mainspring.core.replay import Delivery, History, Instance, advance

Program = Sequence[Any]

SIMPLE = st.one_of(
    st.tuples(st.just("sleep"), st.integers(0, 3)),
    st.tuples(st.just("step"), st.sampled_from(["pay", "pack"])),
    st.tuples(st.just("inline"), st.sampled_from(["price", "book"])),
    st.tuples(st.just("signal"), st.sampled_from("ab"), st.sampled_from([None, 1, 2])),
    st.tuples(st.just("draw")),
    st.tuples(st.just("read")),
)
PROGRAMS: st.SearchStrategy[list[Any]] = st.recursive(
    st.lists(SIMPLE, max_size=3),
    lambda inner: st.lists(
        st.one_of(
            SIMPLE,
            st.tuples(st.sampled_from(["gather", "group", "race"]), st.lists(inner, min_size=1, max_size=3)),
            st.tuples(st.just("timeout"), st.integers(1, 3), inner),
        ),
        max_size=4,
    ),
    max_leaves=8,
)


class Code:
    """Runs a program of the above and notes what it sees."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.committed = 0
        self.log: list[object] = []

    async def main(self, ctx: Instance) -> str:
        try:
            await self.run(ctx, self.program)
        except asyncio.CancelledError:
            self.log.append("cancelled")
            await ctx.step(Kind.ACTIVITY, "clean-up", b"")
            raise
        return repr(self.log)

    async def run(self, ctx: Instance, program: Program) -> None:
        for act in program:
            try:
                self.log.append((act[0], await self.act(ctx, *act)))
            except (StepFailed, TimeoutError) as error:
                self.log.append((act[0], str(error)))
            except ExceptionGroup:
                self.log.append("group failed")

    async def act(self, ctx: Instance, kind: str, *about: Any) -> object:
        match kind:
            case "sleep":
                await asyncio.sleep(about[0])
                return ctx.now_us
            case "step":
                return await ctx.step(Kind.ACTIVITY, about[0], b"")
            case "inline":
                return await ctx.step(Kind.INLINE, about[0], b"")
            case "signal":
                return await ctx.signal(about[0], timeout_us=None if about[1] is None else about[1] * 1_000_000)
            case "draw":
                return str(ctx.uuid()), ctx.random.random()
            case "read":
                return ctx.value("world", lambda: self.read(ctx.seq))
            case "gather":
                await asyncio.gather(*(self.run(ctx, each) for each in about[0]))
            case "group":
                async with asyncio.TaskGroup() as group:
                    for each in about[0]:
                        group.create_task(self.run(ctx, each))
            case "race":
                await self.race(ctx, about[0])
            case _:
                async with asyncio.timeout(about[0]):
                    await self.run(ctx, about[1])
        return None

    def read(self, now: int) -> bytes:
        assert now > self.committed, "what was recorded was read again"
        return str(now).encode()

    async def race(self, ctx: Instance, programs: Sequence[Program]) -> None:
        racing = {asyncio.ensure_future(self.run(ctx, each)) for each in programs}
        done, losers = await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
        for each in losers:
            each.cancel()
        await asyncio.gather(*losers, return_exceptions=True)
        self.log.append(("won", len(done)))


class Story:
    """The life of one run, told once: what happens is chosen from what is open."""

    def __init__(self, program: Program, choices: Sequence[int]) -> None:
        self.code = Code(program)
        self.instance = Instance(self.code.main, seed=b"seed")
        self.inputs: list[Input] = []
        self.deliveries: list[Delivery] = []
        self.open: dict[int, Command] = {}
        self.seq, self.at = 0, 1_000_000
        self.happens(InputType.CREATED)
        for choice in choices:
            if self.instance.ended is None:
                self.chosen(choice)

    def happens(self, type: InputType, **about: Any) -> None:
        given = Input(seq=self.seq + 1, type=type, at=self.at, **about)
        delivery = self.instance.deliver(given)
        self.inputs.append(given)
        self.deliveries.append(delivery)
        self.seq = given.seq + len(delivery.commands)
        for command in delivery.commands:
            if command.target is not None:
                self.open.pop(command.target, None)
            elif command.kind in {Kind.ACTIVITY, Kind.INLINE, Kind.TIMER} or command.delay_us is not None:
                self.open[command.ordinal] = command

    def chosen(self, choice: int) -> None:
        self.at += choice % 1_000_000
        if choice % 13 == 0:
            self.happens(InputType.CANCEL_REQUESTED)
        elif choice % 3 == 0 or not self.open:
            self.happens(InputType.SIGNAL_RECEIVED, name="ab"[choice % 2], body=str(choice).encode())
        else:
            command = self.open.pop(sorted(self.open)[choice % len(self.open)])
            self.ends(command, choice)

    def ends(self, command: Command, choice: int) -> None:
        if command.kind in {Kind.TIMER, Kind.WAIT}:
            self.at += command.delay_us or 0
            self.happens(InputType.TIMER_FIRED, ordinal=command.ordinal)
        elif command.kind is Kind.INLINE:
            self.happens(InputType.STEP_RECORDED, ordinal=command.ordinal, body=str(choice).encode())
        elif choice % 5 == 0:
            failure = Failure(reason="error", message=str(choice))
            self.happens(InputType.STEP_FAILED, ordinal=command.ordinal, failure=failure)
        else:
            self.happens(InputType.STEP_SUCCEEDED, ordinal=command.ordinal, body=str(choice).encode())


def end_of(instance: Instance) -> object:
    ended = instance.ended
    return None if ended is None else (ended.state, ended.value, repr(ended.error))


@settings(max_examples=200, deadline=None)
@given(program=PROGRAMS, choices=st.lists(st.integers(0, 10_000), max_size=14), cuts=st.sets(st.integers(1, 14)), data=st.data())
def test_any_cut_of_the_inputs_into_turns_gives_the_same_commands(
    program: Program, choices: list[int], cuts: set[int], data: st.DataObject
) -> None:
    story = Story(program, choices)
    committed: list[Command] = []
    told: list[Delivery] = []
    code, instance, seen = Code(program), None, 0
    for cut in [*sorted(cuts), len(story.inputs)]:
        inputs = story.inputs[:cut]
        if instance is None or data.draw(st.booleans(), label="the instance was evicted"):
            code = Code(program)
            instance = Instance(code.main, seed=b"seed")
        code.committed = seen
        turn = advance(instance, History(inputs=inputs, commands=committed, seen=seen))
        told += turn
        committed += [command for delivery in turn for command in delivery.commands]
        seen = inputs[-1].seq

    assert instance is not None
    assert [each.commands for each in told] == [each.commands for each in story.deliveries]
    assert code.log == story.code.log
    assert end_of(instance) == end_of(story.instance)
    assert instance.inline == story.instance.inline
    assert instance.unread == story.instance.unread
