"""The process executor with real children: what they run, what ends them, and what is left afterwards."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from mainspring.core.attempts import Failed, GaveItselfBack, Outcome, Stopped, Succeeded, Unstarted, Unworkable
from mainspring.registry import Registry, TaskSpec
from mainspring.runtime.processes import Job, ProcessPool
from mainspring.tasks import Task
from tests.runtime import process_tasks as tasks

DEADLINE_SECONDS = 30
ROOT = Path(__file__).resolve().parents[2]


class Told:
    """What children told, in order; each call is (details, progress, now)."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, str | None, bool]] = []

    def __call__(self, details: bytes | None, progress: str | None, now: bool) -> None:
        self.calls.append((None if details is None else msgspec.json.decode(details), progress, now))

    async def first(self) -> Any:
        """The details of the first call, once there is one."""
        await until(lambda: bool(self.calls))
        return self.calls[0][0]


def job(task: Task[Any, Any] | TaskSpec, *args: Any, run_id: str = "run-1", checkpoint: bytes | None = None, **changed: Any) -> Job:
    spec = task if isinstance(task, TaskSpec) else task.spec
    whole = Job(
        module=spec.function.__module__,
        qualname=spec.function.__qualname__,
        id=run_id,
        task=spec.name,
        queue="default",
        token=7,
        failures=2,
        interruptions=1,
        releases=0,
        body=spec.schema.encode(args, {}),
        checkpoint=checkpoint,
    )
    return msgspec.structs.replace(whole, **changed)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds():  # noqa: ASYNC110  - what is waited for happens in another process
            await asyncio.sleep(0.01)


def wait_until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < give_up_at, "not within the deadline"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def in_a_pool(scenario: Callable[[ProcessPool], Awaitable[None]], *, size: int = 2, recycle_after: int = 1000) -> None:
    """Play a scenario; afterwards no child of it may be left."""
    others = {child.pid for child in psutil.Process().children()}  # a server of another test's may run in this process

    async def play() -> None:
        pool = ProcessPool(size, recycle_after=recycle_after)
        try:
            async with asyncio.timeout(2 * DEADLINE_SECONDS):
                await scenario(pool)
        finally:
            await pool.close()
        left = [child for child in psutil.Process().children() if child.pid not in others]
        assert not [child for child in left if child.status() != psutil.STATUS_ZOMBIE]

    asyncio.run(play())


def outcome_of(task: Task[Any, Any] | TaskSpec, *args: Any, tell: Told | None = None, **options: Any) -> Outcome:
    """The outcome of one attempt in a pool of its own."""
    outcomes: list[Outcome] = []

    async def scenario(pool: ProcessPool) -> None:
        outcomes.append(await pool.run(job(task, *args, **options), tell or Told()))

    in_a_pool(scenario)
    return outcomes[0]


def value_of(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.result is not None
    return msgspec.json.decode(outcome.result)


@pytest.fixture
def strays() -> Iterator[list[int]]:
    """Processes to end after the test, whatever it showed."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        if not is_gone(pid):
            os.kill(pid, signal.SIGKILL)


# -- what user code does ---------------------------------------------------------------------------------------------


def test_a_result_comes_back_from_a_child() -> None:
    assert value_of(outcome_of(tasks.add, 2, 3)) == 5


def test_the_child_knows_the_run_it_works_on() -> None:
    assert value_of(outcome_of(tasks.whoami, run_id="abc")) == {
        "run_id": "abc",
        "task": tasks.whoami.spec.name,
        "queue": "default",
        "token": 7,
        "attempt": 4,
    }


def test_a_child_leads_its_own_session_and_runs_the_task_in_its_main_thread() -> None:
    found = value_of(outcome_of(tasks.where))
    assert found == {"session": found["pid"], "pid": found["pid"], "main_thread": True, "stdin": ""}
    assert found["pid"] != os.getpid()


def test_a_task_is_found_under_a_dotted_name() -> None:
    assert value_of(outcome_of(tasks.Shelf.on_the_shelf)) == "found"


def test_a_function_that_is_no_task_in_its_own_module_runs_too() -> None:
    spec = Registry(queue="default").add(tasks.plain, executor="process")
    assert value_of(outcome_of(spec, "so")) == "soso"


def test_an_exception_fails_the_attempt_and_brings_its_traceback() -> None:
    outcome = outcome_of(tasks.divide, 0)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.type, outcome.message, outcome.final) == (
        "error",
        "ZeroDivisionError",
        "division by zero",
        False,
    )
    assert outcome.traceback is not None
    assert "return 1 / by" in outcome.traceback


def test_signals_cross_the_border_with_all_they_say() -> None:
    assert outcome_of(tasks.fail_for_good) == Failed(code="bad_address", message="no such street", type="Fail", final=True)
    assert outcome_of(tasks.retry_later, "5s") == Failed(code="busy", message="try again", type="Retry", after_us=5_000_000)
    assert outcome_of(tasks.not_yet) == GaveItselfBack(after_us=120_000_000, reason="no file yet")
    assert outcome_of(tasks.not_yet_until) == GaveItselfBack(until=1_935_392_400_000_000)


def test_a_signal_that_cannot_be_read_fails_the_attempt() -> None:
    outcome = outcome_of(tasks.retry_later, "soon")
    assert isinstance(outcome, Failed)
    assert outcome.code == "invalid_option"


def test_a_result_without_a_json_form_fails_for_good() -> None:
    outcome = outcome_of(tasks.returns_a_set_of_objects)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.final) == ("result_invalid", True)


def test_a_payload_that_does_not_fit_is_for_a_person() -> None:
    outcome = outcome_of(tasks.add, 1, body=b'{"left": "one"}')
    assert isinstance(outcome, Unworkable)
    assert outcome.code == "invalid_payload"


def test_a_checkpoint_goes_in_and_heartbeats_come_out_before_the_outcome() -> None:
    told = Told()
    assert value_of(outcome_of(tasks.count_up, tell=told, checkpoint=b'{"at":41}')) == 41
    assert told.calls == [({"at": 42}, '"half way"', False), (None, None, True)]


def test_members_cannot_be_read_in_a_child_and_it_says_so() -> None:
    outcome = outcome_of(tasks.read_members)
    assert isinstance(outcome, Failed)
    assert 'executor="thread"' in outcome.message


def test_what_a_task_prints_appears_where_the_worker_prints(capfd: pytest.CaptureFixture[str]) -> None:
    outcome_of(tasks.shout, "hello from a child")
    assert "hello from a child" in capfd.readouterr().out


# -- code that is not there ------------------------------------------------------------------------------------------


def test_a_module_that_cannot_be_imported_is_named_and_spends_nothing() -> None:
    outcome = outcome_of(tasks.add, 1, module="not_here.at_all")
    assert isinstance(outcome, Unworkable)
    assert outcome.code == "task_unimportable"
    assert "cannot import not_here.at_all: ModuleNotFoundError" in outcome.message


def test_a_function_that_its_module_does_not_have_is_named() -> None:
    outcome = outcome_of(tasks.add, 1, qualname="outer.<locals>.inner")
    assert isinstance(outcome, Unworkable)
    assert outcome.code == "task_unimportable"
    assert "outer.<locals>.inner" in outcome.message


def test_a_module_that_fails_while_it_is_imported_fails_the_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breaks_at_import.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    outcome = outcome_of(tasks.add, 1, module="breaks_at_import")
    assert isinstance(outcome, Failed)
    assert outcome.type == "ZeroDivisionError"


SCRIPT = """
import asyncio
from mainspring.runtime.processes import Job, ProcessPool

def double(number: int) -> int:
    return number * 2

async def main() -> None:
    job = Job(
        module=double.__module__, qualname="double", id="r", task="double", queue="default", token=1,
        failures=0, interruptions=0, releases=0, body=b'{"number": 21}', checkpoint=None,
    )
    pool = ProcessPool(1)
    print(await pool.run(job, lambda *_: None))
    await pool.close()

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize("how", [["script.py"], ["-m", "package.script"], ["-m", "package"]], ids=" ".join)
def test_a_function_of_the_main_module_runs_however_that_was_started(how: list[str], tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    for name in ("script.py", "package/script.py", "package/__main__.py"):
        (tmp_path / name).write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, *how], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert (done.stdout, done.stderr) == ("Succeeded(result=b'42')\n", "")


# -- asked to stop ---------------------------------------------------------------------------------------------------


def test_a_cancelled_attempt_stops_at_its_next_check() -> None:
    async def scenario(pool: ProcessPool) -> None:
        told = Told()
        running = asyncio.create_task(pool.run(job(tasks.wait_until_stopped), told))
        await told.first()
        pool.ask_to_stop("another", "cancelled")
        pool.ask_to_stop("run-1", "cancelled")
        assert await running == Stopped()

    in_a_pool(scenario)


@pytest.mark.parametrize(("why", "raised"), [("cancelled", "Cancelled"), ("timeout", "Cancelled"), ("lease_lost", "LeaseLost")])
def test_user_code_learns_why_it_should_stop(why: str, raised: str) -> None:
    async def scenario(pool: ProcessPool) -> None:
        told = Told()
        running = asyncio.create_task(pool.run(job(tasks.see_why_stopped), told))
        await told.first()
        pool.ask_to_stop("run-1", why)
        assert value_of(await running) == raised

    in_a_pool(scenario)


def test_an_attempt_that_is_stopped_before_its_child_is_up_never_begins(tmp_path: Path) -> None:
    async def scenario(pool: ProcessPool) -> None:
        running = asyncio.create_task(pool.run(job(tasks.write, str(tmp_path / "written"), "x"), Told()))
        await asyncio.sleep(0)
        pool.ask_to_stop("run-1", "cancelled")
        assert await running == Stopped()

    in_a_pool(scenario)
    assert not (tmp_path / "written").exists()


def test_killing_a_hanging_task_ends_the_processes_it_started_too(strays: list[int]) -> None:
    async def scenario(pool: ProcessPool) -> None:
        told = Told()
        running = asyncio.create_task(pool.run(job(tasks.hang_with_children), told))
        strays.extend(await told.first())
        assert len(strays) == 3
        await pool.kill("run-1")
        assert await running == Stopped()
        await until(lambda: all(map(is_gone, strays)))
        assert value_of(await pool.run(job(tasks.add, 1), Told())) == 2

    in_a_pool(scenario)


def test_cancelling_the_call_kills_the_child(strays: list[int]) -> None:
    async def scenario(pool: ProcessPool) -> None:
        told = Told()
        running = asyncio.create_task(pool.run(job(tasks.hang_with_children), told))
        strays.extend(await told.first())
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await pool.kill("run-1")
        await until(lambda: all(map(is_gone, strays)))

    in_a_pool(scenario)


def test_sigterm_and_sigint_are_left_to_the_worker_but_not_ignored_by_what_a_task_starts() -> None:
    assert value_of(outcome_of(tasks.survive_signals)) == "SIGTERM"


# -- children that die -----------------------------------------------------------------------------------------------


def test_a_segfault_costs_one_attempt_and_the_pool_goes_on() -> None:
    async def scenario(pool: ProcessPool) -> None:
        beside = asyncio.create_task(pool.run(job(tasks.see_why_stopped, run_id="beside"), told := Told()))
        await told.first()
        died = await pool.run(job(tasks.segfault), Told())
        assert died == Failed(code="process_died", message="the task's process was ended by SIGSEGV")
        assert value_of(await pool.run(job(tasks.add, 1), Told())) == 2
        pool.ask_to_stop("beside", "cancelled")
        assert value_of(await beside) == "Cancelled"

    in_a_pool(scenario)


def test_a_task_that_ends_its_process_is_told_with_its_exit_status() -> None:
    assert outcome_of(tasks.vanish, 3) == Failed(code="process_died", message="the task ended its process with exit status 3")


def test_a_child_that_is_killed_from_outside_fails_its_attempt() -> None:
    async def scenario(pool: ProcessPool) -> None:
        told = Told()
        running = asyncio.create_task(pool.run(job(tasks.hang_with_children), told))
        os.kill((await told.first())[0], signal.SIGKILL)
        outcome = await running
        assert isinstance(outcome, Failed)
        assert outcome.code == "process_died"
        assert "SIGKILL" in outcome.message
        await until(lambda: all(map(is_gone, told.calls[0][0])))

    in_a_pool(scenario)


def test_sys_exit_ends_the_attempt_and_not_the_child() -> None:
    async def scenario(pool: ProcessPool) -> None:
        before = value_of(await pool.run(job(tasks.pid), Told()))
        outcome = await pool.run(job(tasks.leave, 3), Told())
        assert isinstance(outcome, Failed)
        assert outcome.type == "SystemExit"
        assert value_of(await pool.run(job(tasks.pid), Told())) == before

    in_a_pool(scenario)


def test_a_death_is_seen_although_a_fork_of_the_child_lives_on(strays: list[int]) -> None:
    told = Told()
    outcome = outcome_of(tasks.die_before_its_fork, tell=told)
    strays.append(told.calls[0][0])
    assert outcome == Failed(code="process_died", message="the task ended its process with exit status 7")


def test_a_task_that_closes_the_channel_fails_and_is_ended() -> None:
    outcome = outcome_of(tasks.close_every_descriptor)
    assert isinstance(outcome, Failed)
    assert outcome.code == "process_died"


def test_a_child_that_died_while_it_rested_is_replaced() -> None:
    async def scenario(pool: ProcessPool) -> None:
        first = value_of(await pool.run(job(tasks.pid), Told()))
        os.kill(first, signal.SIGKILL)
        await until(lambda: not psutil.pid_exists(first))
        for _ in range(2):  # the loop sees the end of the channel in its next turn
            await asyncio.sleep(0)
        assert value_of(await pool.run(job(tasks.pid), Told())) != first

    in_a_pool(scenario)


# -- the pool --------------------------------------------------------------------------------------------------------


def test_children_stay_warm_and_are_replaced_after_so_many_attempts() -> None:
    async def scenario(pool: ProcessPool) -> None:
        pids = [value_of(await pool.run(job(tasks.pid), Told())) for _ in range(7)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]
        assert is_gone(pids[0])

    in_a_pool(scenario, size=1, recycle_after=3)


def test_there_are_never_more_children_than_places() -> None:
    async def scenario(pool: ProcessPool) -> None:
        jobs = [job(tasks.pid, run_id=f"run-{number}") for number in range(20)]
        outcomes = await asyncio.gather(*(pool.run(each, Told()) for each in jobs))
        assert len({value_of(outcome) for outcome in outcomes}) <= 2

    in_a_pool(scenario, size=2)


def test_large_messages_cross_whole() -> None:
    text = "x" * 200_000
    spec = Registry(queue="default").add(tasks.plain, executor="process")
    assert value_of(outcome_of(spec, text[:100_000])) == text


def test_closing_ends_what_hangs_and_starts_nothing_more() -> None:
    async def scenario(pool: ProcessPool) -> None:
        told = Told()
        running = asyncio.create_task(pool.run(job(tasks.hang_with_children), told))
        pids = await told.first()
        await pool.close()
        assert await running == Stopped()
        await until(lambda: all(map(is_gone, pids)))
        assert await pool.run(job(tasks.add, 1), Told()) == Unstarted()

    in_a_pool(scenario)


WORKER = """
import asyncio, sys
from tests.runtime import process_tasks as tasks
from tests.runtime.test_processes import job
from mainspring.runtime.processes import ProcessPool

async def main() -> None:
    pool = ProcessPool(2)
    print((await pool.run(job(tasks.pid, run_id="resting"), print)).result.decode(), flush=True)
    say = lambda details, *_: print(details.decode(), flush=True)
    deaf = tasks.hold_the_interpreter if sys.platform == "linux" else tasks.wait_until_stopped
    await asyncio.gather(pool.run(job(deaf, run_id="1"), say), pool.run(job(tasks.wait_until_stopped, run_id="2"), say))

asyncio.run(main())
"""


def test_children_die_with_a_worker_that_is_killed(strays: list[int]) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    with worker.stdout:
        said = [worker.stdout.readline() for _ in range(3)]
        children = [child.pid for child in psutil.Process(worker.pid).children()]
        strays.extend(children)
        worker.kill()
        worker.wait()
    assert said[1:] == ['"waiting"\n'] * 2
    assert len(children) == 2
    assert int(said[0]) in children
    wait_until(lambda: all(map(is_gone, children)))
