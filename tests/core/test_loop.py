"""The loop of a workflow: what of asyncio works on it, in which order, and what has no place there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from mainspring.core.commands import Command, EndsAs, Input, InputType, Kind, NotInWorkflow, TurnRefused
from mainspring.core.replay import Delivery, Instance
from mainspring.errors import BrokenInvariant

SECOND = 1_000_000
Main = Callable[[Instance], Coroutine[Any, Any, object]]


class Told:
    """One workflow, told of one input after the other."""

    def __init__(self, main: Main) -> None:
        self.instance = Instance(main, seed=b"a seed")
        self.at = 100 * SECOND

    def tell(self, type: InputType, *, after: int = 0, **about: Any) -> Delivery:
        self.at += after
        return self.instance.deliver(Input(seq=self.instance.seq + 1, type=type, at=self.at, **about))

    def begin(self) -> Delivery:
        return self.tell(InputType.CREATED)

    def fire(self, ordinal: int, *, after: int = 0) -> Delivery:
        return self.tell(InputType.TIMER_FIRED, ordinal=ordinal, after=after)


def asked(delivery: Delivery) -> list[tuple[Kind, int | None]]:
    return [(each.kind, each.delay_us if each.kind is Kind.TIMER else each.target) for each in delivery.commands]


def value_of(delivery: Delivery) -> object:
    assert delivery.ended is not None
    assert delivery.ended.error is None, delivery.ended.error
    return delivery.ended.value


def run(main: Main) -> object:
    return value_of(Told(main).begin())


def test_what_is_ready_runs_first_in_first_out() -> None:
    async def main(ctx: Instance) -> list[str]:
        order: list[str] = []

        async def one(name: str) -> None:
            for turn in range(2):
                order.append(f"{name}{turn}")
                await asyncio.sleep(0)

        await asyncio.gather(one("a"), one("b"), one("c"))
        return order

    assert run(main) == ["a0", "b0", "c0", "a1", "b1", "c1"]


def test_a_sleep_is_a_durable_timer_and_nothing_passes_meanwhile() -> None:
    async def main(ctx: Instance) -> float:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0.05)
        return asyncio.get_running_loop().time() - began

    told = Told(main)
    assert asked(told.begin()) == [(Kind.TIMER, 50_000)]
    assert value_of(told.fire(1, after=50_000)) == pytest.approx(0.05)


def test_what_has_nothing_to_wait_for_only_lets_others_run() -> None:
    async def main(ctx: Instance) -> list[str]:
        order: list[str] = []
        loop = asyncio.get_running_loop()
        loop.call_later(0, order.append, "at once")
        loop.call_at(loop.time() - 1, order.append, "long ago")
        loop.call_soon(order.append, "soon")
        await ctx.sleep(0)
        return order

    begun = Told(main).begin()
    assert begun.commands == []
    assert value_of(begun) == ["at once", "long ago", "soon"]


def test_a_timeout_that_is_not_needed_is_cancelled_by_its_ordinal() -> None:
    async def main(ctx: Instance) -> bytes:
        async with asyncio.timeout(60):
            return await ctx.step(Kind.ACTIVITY, "charge", b"")

    told = Told(main)
    assert asked(told.begin()) == [(Kind.TIMER, 60 * SECOND), (Kind.ACTIVITY, None)]
    over = told.tell(InputType.STEP_SUCCEEDED, ordinal=2, body=b"paid")
    assert asked(over) == [(Kind.CANCEL_TIMER, 1)]
    assert value_of(over) == b"paid"


def test_a_timeout_that_is_over_cancels_the_step_that_it_guards() -> None:
    async def main(ctx: Instance) -> str:
        try:
            await asyncio.wait_for(ctx.step(Kind.ACTIVITY, "charge", b""), 60)
        except TimeoutError:
            return "too late"
        return "in time"

    told = Told(main)
    begun = told.begin()
    ordinals = {each.kind: each.ordinal for each in begun.commands}
    over = told.fire(ordinals[Kind.TIMER], after=60 * SECOND)
    assert asked(over) == [(Kind.CANCEL_STEP, ordinals[Kind.ACTIVITY])]
    assert value_of(over) == "too late"


def test_what_one_delivery_makes_and_undoes_is_no_command() -> None:
    async def main(ctx: Instance) -> str:
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
        ctx.step(Kind.ACTIVITY, "never", b"").cancel()
        await asyncio.sleep(0)
        return "done"

    begun = Told(main).begin()
    assert begun.commands == []
    assert value_of(begun) == "done"


def test_events_queues_locks_and_groups_work_as_they_are() -> None:
    async def main(ctx: Instance) -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
        done, lock = asyncio.Event(), asyncio.Lock()
        got: list[int] = []

        async def produce() -> None:
            for number in range(3):
                await queue.put(number)
            done.set()

        async def consume() -> None:
            async with lock:
                while not (done.is_set() and queue.empty()):
                    got.append(await queue.get())

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            group.create_task(consume())
        return got

    assert run(main) == [0, 1, 2]


def test_a_group_cancels_the_others_when_one_fails() -> None:
    async def main(ctx: Instance) -> str:
        end = "went on"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ctx.sleep(SECOND))
                group.create_task(ctx.sleep(2 * SECOND))
                await asyncio.sleep(0)
                raise ValueError("no")
        except* ValueError:
            end = "stopped"
        return end

    begun = Told(main).begin()
    assert value_of(begun) == "stopped"
    assert begun.commands == []


THREE_IN_A_SET = """
import asyncio
from mainspring.core.commands import Input, InputType
from mainspring.core.replay import Instance

async def main(ctx):
    order = []
    async def one(name):
        try:
            await ctx.sleep(1_000_000)
        except asyncio.CancelledError:
            order.append(name)
            raise
    tasks = {asyncio.create_task(one(name)) for name in ["north", "south", "east", "west", "up", "down"]}
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    return order

print(Instance(main, seed=b"").deliver(Input(seq=1, type=InputType.CREATED, at=0)).ended.value)
"""


def test_sets_of_tasks_iterate_alike_under_any_string_hash_seed() -> None:
    source = str(Path(__file__).resolve().parents[2] / "src")
    told = {
        subprocess.run(
            [sys.executable, "-c", THREE_IN_A_SET],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": source},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert told == {"['north', 'south', 'east', 'west', 'up', 'down']\n"}


async def in_a_thread() -> None:
    await asyncio.to_thread(print)


async def in_an_executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, print)


async def over_a_socket() -> None:
    await asyncio.open_connection("localhost", 1)


async def with_a_program() -> None:
    await asyncio.create_subprocess_shell("true")


async def from_another_thread() -> None:
    asyncio.get_running_loop().call_soon_threadsafe(print)


@pytest.mark.parametrize("act", [in_a_thread, in_an_executor, over_a_socket, with_a_program])
def test_what_a_replay_cannot_repeat_is_refused_naming_the_step_to_write(act: Callable[[], Awaitable[None]]) -> None:
    async def main(ctx: Instance) -> str:
        with pytest.raises(NotInWorkflow, match=r"ctx\.step") as refused:
            await act()
        return refused.value.code

    assert run(main) == "not_in_workflow"


def test_a_call_from_another_thread_is_refused_naming_the_signal() -> None:
    async def main(ctx: Instance) -> str:
        with pytest.raises(NotInWorkflow, match=r"run\.signal"):
            await from_another_thread()
        return "refused"

    assert run(main) == "refused"


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_an_exception_of_any_kind_ends_the_run_and_nothing_else(error: BaseException) -> None:
    async def main(ctx: Instance) -> None:
        raise error

    ended = Told(main).begin().ended
    assert ended is not None
    assert ended.state is EndsAs.FAILED
    assert ended.error is error


def test_an_exception_in_a_callback_ends_the_run() -> None:
    async def main(ctx: Instance) -> None:
        asyncio.get_running_loop().call_soon(int, "no number")
        await asyncio.sleep(0)

    ended = Told(main).begin().ended
    assert ended is not None
    assert isinstance(ended.error, ValueError)


def test_code_that_never_comes_to_rest_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainspring.core.loop.MOST_CALLBACKS", 1_000)

    async def main(ctx: Instance) -> None:
        while True:
            await ctx.sleep(0)

    with pytest.raises(TurnRefused) as refused:
        Told(main).begin()
    assert refused.value.code == "stuck"


@pytest.mark.parametrize("seconds", [float("nan"), 1e10])
def test_a_sleep_that_is_no_time_is_an_error_at_its_line(seconds: float) -> None:
    async def main(ctx: Instance) -> str:
        with pytest.raises(ValueError, match=r"ten years"):
            await asyncio.sleep(seconds)
        with pytest.raises(ValueError, match="cannot sleep"):
            await ctx.sleep(-1)
        return "refused"

    assert run(main) == "refused"


def test_a_clock_that_steps_back_makes_no_time_fall() -> None:
    async def main(ctx: Instance) -> list[int]:
        seen = [ctx.now_us]
        for _ in range(2):
            await ctx.signal("tick")
            seen.append(ctx.now_us)
        return seen

    told = Told(main)
    told.begin()
    told.tell(InputType.SIGNAL_RECEIVED, name="tick", after=5)
    ended = told.tell(InputType.SIGNAL_RECEIVED, name="tick", after=-3)
    assert value_of(ended) == [100 * SECOND, 100 * SECOND + 5, 100 * SECOND + 5]


def test_an_unfinished_generator_is_dropped_and_not_finished_by_chance() -> None:
    finished: list[str] = []

    async def numbers() -> Any:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            finished.append("finished")

    async def main(ctx: Instance) -> int:
        async for number in numbers():
            return int(number)
        return 0

    assert run(main) == 1
    assert finished == []


def test_the_loop_around_it_is_the_running_one_again_afterwards() -> None:
    async def around() -> bool:
        loop = asyncio.get_running_loop()

        async def main(ctx: Instance) -> bool:
            return asyncio.get_running_loop() is loop

        return run(main) is False and asyncio.get_running_loop() is loop

    assert asyncio.run(around())


def test_what_is_put_away_asks_for_nothing_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    acted: list[str] = []

    async def main(ctx: Instance) -> None:
        try:
            await ctx.sleep(SECOND)
        finally:
            ctx.step(Kind.ACTIVITY, "clean-up", b"")
            acted.append("cleaned up")

    told = Told(main)
    made: list[Command] = list(told.begin().commands)
    told.instance.close()
    assert [each.kind for each in made] == [Kind.TIMER]
    assert acted == []
    assert capsys.readouterr().err == ""


def test_inputs_out_of_order_are_our_bug() -> None:
    async def main(ctx: Instance) -> None:
        await ctx.sleep(SECOND)

    told = Told(main)
    told.begin()
    with pytest.raises(BrokenInvariant):
        told.instance.deliver(Input(seq=1, type=InputType.TIMER_FIRED, at=0, ordinal=1))
    with pytest.raises(BrokenInvariant):
        told.begin()
