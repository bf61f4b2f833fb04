"""``mainspring worker`` and ``dev``: starting, stopping by signals, starting again, and Apps that are none."""

from __future__ import annotations

import os
import re
import signal
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.cli.shell import Shell, wait_until
from tests.cli.test_processes import children_of, is_alive


def test_a_worker_that_is_asked_to_stop_lets_what_runs_end(shell: Shell, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run_id = shell.enqueue("wait_for", file=str(gate))
    worker = shell.start("worker", "shop:app", "--name", "w1")
    wait_until(Path(f"{gate}.begun").exists, "the run has begun")
    worker.send_signal(signal.SIGTERM)
    gate.touch()
    _, said = worker.communicate(timeout=30)
    assert worker.returncode == 0
    assert "1 attempts finished" in said
    found = shell.json("run", "get", run_id)
    assert (found["state"], found["attempts"]) == ("succeeded", 1)
    assert shell.json("run", "attempts", run_id)["data"][0]["worker_id"].startswith("w1.")


def test_a_second_signal_stops_at_once_and_spends_no_failure(shell: Shell, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run_id = shell.enqueue("deaf", file=str(gate))
    worker = shell.start("worker", "shop:app", "--grace", "50s")
    assert worker.stderr is not None
    wait_until(Path(f"{gate}.begun").exists, "the run has begun")
    worker.send_signal(signal.SIGTERM)
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=30)  # long before grace is over, and with the task's thread still there
    assert worker.returncode in {0, 75}
    found = shell.json("run", "get", run_id)
    assert (found["failures"], found["interruptions"]) == (0, 1)
    assert found["state"] in {"queued", "retrying"}


def test_a_worker_serves_the_queues_it_is_told(shell: Shell) -> None:
    run_id = shell.enqueue("greet", who="you")
    assert shell.run("worker", "shop:app", "--drain", "-q", "mail").code == 0
    assert shell.json("run", "get", run_id)["state"] == "queued"
    assert shell.run("worker", "shop:app", "--drain", "-q", "mail", "-q", "default", "-c", "1").code == 0
    assert shell.json("run", "get", run_id)["state"] == "succeeded"


def test_the_database_of_a_flag_is_the_apps_wherever_the_flag_stands(on_sqlite: Shell) -> None:
    for number, arguments in enumerate(
        (["--db", "sqlite:///a.db", "worker", "shop:app"], ["worker", "shop:app", "--db=sqlite:///b.db"])
    ):
        assert on_sqlite.run(*arguments, "--drain", url=None).code == 0
        assert (on_sqlite.folder / f"{'ab'[number]}.db").exists()


def test_an_app_with_a_database_of_its_own_takes_no_other(on_sqlite: Shell) -> None:
    (on_sqlite.folder / "own.py").write_text(
        'from mainspring import App\napp = App("own", database="sqlite:///own.db", namespace="n")\n'
    )
    refused = on_sqlite.run("worker", "own:app", "--db", "sqlite:///other.db")
    assert refused.code == 2
    assert "leave --db out" in refused.err
    assert on_sqlite.run("worker", "own:app", "--namespace", "other").code == 2
    assert on_sqlite.run("worker", "own:app", "--drain").code == 0
    assert (on_sqlite.folder / "own.db").exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("shop", "MODULE:APP"),
        ("shop.py:app", "MODULE:APP"),
        (":app", "MODULE:APP"),
        ("nowhere:app", "no module 'nowhere'"),
        ("shop.inner:app", "no module 'shop.inner'"),
        ("shop:nothing", "write shop:app"),
        ("shop:not_an_app", "is a int and not an App"),
        ("broken:app", "broken.py, line 2"),
        ("unreadable:app", "unreadable.py, line 1"),
        ("lacking:app", "lacking.py, line 1"),
        ("twice:app", "two tasks named 'same'"),
    ],
)
def test_what_is_no_app_is_refused_with_what_to_write(on_sqlite: Shell, name: str, told: str) -> None:
    (on_sqlite.folder / "broken.py").write_text("x = 1\nx.y\n")
    (on_sqlite.folder / "unreadable.py").write_text("def\n")
    (on_sqlite.folder / "lacking.py").write_text("import nowhere_at_all\n")
    (on_sqlite.folder / "twice.py").write_text(
        "from mainspring import App\n"
        'app = App("twice")\n'
        '@app.task(name="same")\ndef one() -> None: ...\n'
        '@app.task(name="same")\ndef two() -> None: ...\n'
    )
    refused = on_sqlite.run("worker", name)
    assert refused.code == 2, refused
    assert told in refused.err


def test_options_that_cannot_be_are_refused(on_sqlite: Shell) -> None:
    for option in (
        ["--lease", "soon"],
        ["--lease", "1ms"],
        ["--concurrency", "0"],
        ["--poll", "-1s"],
        ["--name", "a b"],
        ["--nope"],
    ):
        assert on_sqlite.run("worker", "shop:app", *option).code == 2, option
    assert on_sqlite.run("worker", "shop:app", "--queue", "nope").code == 3


def test_a_dev_worker_starts_again_with_what_was_changed(on_sqlite: Shell, tmp_path: Path) -> None:
    dev = on_sqlite.start("dev", "shop:app", "--port", "0")
    with closing(on_sqlite.client()) as client:
        assert client.enqueue("greet", who="you").result("30s") == "hello you "
        code = (tmp_path / "shop.py").read_text().replace('"hello "', '"bonjour "')
        (tmp_path / "shop.py").write_text(code)
        os.utime(tmp_path / "shop.py", ns=(1, 1))
        wait_until(lambda: client.enqueue("greet", who="you").result("30s") == "bonjour you ", "the new code runs")
        dev.send_signal(signal.SIGINT)
        dev.communicate(timeout=30)
        assert dev.returncode == 0
        wait_until(lambda: all(worker.state == "gone" for worker in client.workers()), "its worker has ended with it")


def test_dev_serves_the_http_api_beside_the_worker(on_sqlite: Shell) -> None:
    dev = on_sqlite.start("dev", "shop:app", "--port", "0")
    assert dev.stderr is not None
    address = next(found.group() for line in dev.stderr if (found := re.search(r"http://[\d.]+:\d+", line)))
    api = httpx.Client(base_url=f"{address}/api/v1")
    with api:
        run_id = api.post("/runs", json={"task": "greet", "payload": {"who": "you"}}).json()["id"]
        wait_until(lambda: api.get(f"/runs/{run_id}").json()["state"] == "succeeded", "a worker of the same process group ran it")
        dev.send_signal(signal.SIGINT)
        dev.communicate(timeout=30)
        with pytest.raises(httpx.TransportError):
            api.get("/runs")


def test_dev_makes_the_schema_of_an_empty_database_of_either_kind_by_itself(on_empty: Shell) -> None:
    dev = on_empty.start("dev", "shop:app", "--port", "0")
    assert dev.stderr is not None
    assert any(re.search(r"http://[\d.]+:\d+", line) for line in dev.stderr), "it did not start"
    with closing(on_empty.client()) as client:
        assert client.enqueue("greet", who="you").result("30s") == "hello you "


def test_a_dev_worker_outlives_a_mistake_in_the_code(on_sqlite: Shell, tmp_path: Path) -> None:
    dev = on_sqlite.start("dev", "shop:app", "--port", "0")
    good = (tmp_path / "shop.py").read_text()
    with closing(on_sqlite.client()) as client:
        wait_until(lambda: len(client.workers()) == 1, "the first worker is there")
        (tmp_path / "shop.py").write_text("def\n")
        assert dev.stderr is not None
        wait_until(lambda: "starts again when a file changes" in dev.stderr.readline(), "the mistake was told")  # type: ignore[union-attr]
        (tmp_path / "shop.py").write_text(good)
        assert client.enqueue("greet", who="you").result("30s") == "hello you "


def test_killing_dev_alone_leaves_no_worker_and_no_server(on_sqlite: Shell) -> None:
    dev = on_sqlite.start("dev", "shop:app", "--port", "0")
    assert dev.stderr is not None
    next(line for line in dev.stderr if re.search(r"http://[\d.]+:\d+", line))
    started = children_of(dev.pid)
    assert len(started) == 2, started
    dev.kill()
    dev.wait(timeout=10)
    wait_until(lambda: not any(is_alive(pid) for pid in started), "the worker and the server have ended")
