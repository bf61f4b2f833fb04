"""``mainspring worker --processes``: real processes on both databases, that are stopped, killed, worn out and left alone."""

from __future__ import annotations

import json
import os
import signal
from contextlib import closing
from pathlib import Path

from mainspring import App
from tests.cli.shell import Shell, wait_until


def children_of(pid: int) -> list[int]:
    """The processes that this one started and that live."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(parent) == pid and state != "Z":
                found.append(int(entry.name))
    return sorted(found)


def is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def live(shell: Shell) -> list[str]:
    with closing(shell.client()) as client:
        return sorted(worker.id for worker in client.workers() if worker.state == "live")


def test_several_processes_share_the_work_and_one_report_says_what_all_did(shell: Shell) -> None:
    with closing(shell.client()) as client:
        handles = [client.enqueue("greet", who=str(number)) for number in range(30)]
        done = shell.run("worker", "shop:app", "--processes", "2", "--drain", "--json", "--name", "crew")
        assert done.code == 0, done.err
        report = json.loads(done.out)
        assert (report["finished"], report["worn_out"], report["remaining"]["ready"]) == (30, False, 0)
        assert "left: nothing" in done.err
        assert all(handle.result("1s").startswith("hello") for handle in handles)


def test_the_first_signal_lets_what_runs_end_and_the_second_does_not_wait(shell: Shell, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run_id = shell.enqueue("wait_for", file=str(gate))
    worker = shell.start("worker", "shop:app", "--processes", "2", "--poll", "100ms")
    wait_until(Path(f"{gate}.begun").exists, "the run has begun")
    worker.send_signal(signal.SIGTERM)
    gate.touch()
    _, said = worker.communicate(timeout=30)
    assert worker.returncode == 0, said
    assert "1 attempts finished" in said
    assert shell.json("run", "get", run_id)["state"] == "succeeded"

    stuck = shell.enqueue("deaf", file=str(gate) + "2")
    worker = shell.start("worker", "shop:app", "--processes", "2", "--grace", "50s", "--poll", "100ms")
    wait_until(Path(f"{gate}2.begun").exists, "the run has begun")
    worker.send_signal(signal.SIGTERM)
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=40)
    found = shell.json("run", "get", stuck)
    assert (found["failures"], found["interruptions"]) == (0, 1)


def test_a_process_that_is_killed_is_replaced_and_its_run_is_done_by_another(shell: Shell, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run_id = shell.enqueue("wait_for", file=str(gate))
    worker = shell.start("worker", "shop:app", "--processes", "2", "--lease", "1s", "--poll", "100ms")
    wait_until(Path(f"{gate}.begun").exists, "the run has begun")
    wait_until(lambda: len(live(shell)) == 2, "both are at work")
    before = children_of(worker.pid)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(set(children_of(worker.pid)) - set(before)) == 2, "both were replaced")
    gate.touch()
    wait_until(lambda: shell.json("run", "get", run_id)["state"] == "succeeded", "the run was done after all")
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=30)
    assert worker.returncode == 0


def test_no_process_outlives_a_supervisor_that_is_killed(shell: Shell) -> None:
    worker = shell.start("worker", "shop:app", "--processes", "2", "--poll", "100ms", "--grace", "1s")
    wait_until(lambda: len(live(shell)) == 2, "both are at work")
    children = children_of(worker.pid)
    assert len(children) == 2
    worker.kill()
    worker.communicate(timeout=30)
    wait_until(lambda: not any(map(is_alive, children)), "they have ended with it")
    wait_until(lambda: live(shell) == [], "and said goodbye")


def test_a_crew_whose_member_is_worn_out_exits_with_75(on_sqlite: Shell, tmp_path: Path) -> None:
    (tmp_path / "tired.py").write_text(
        "import threading\n"
        "from mainspring import App\n"
        'app = App("tired")\n'
        '@app.task(name="deaf", timeout="100ms", grace="0ms", max_attempts=1)\n'
        "def deaf() -> None:\n"
        "    threading.Event().wait(60)\n"
    )
    with closing(App("tired", database=on_sqlite.url)) as app:  # the policy is captured where the run is made

        @app.task(name="deaf", timeout="100ms", grace="0ms", max_attempts=1)
        def deaf() -> None: ...

        deaf.enqueue()
    done = on_sqlite.run("worker", "tired:app", "--processes", "2", "--drain", "-c", "2", "--grace", "1s")
    assert done.code == 75, done
    assert "worn out" in done.err
