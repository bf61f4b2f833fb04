"""Prometheus metrics: each of the table is counted, none is without a line in the guide, and labels stay few.

Not here: what Prometheus' own classes do.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable

import pytest
from prometheus_client import generate_latest

from mainspring import App, Context, Fail, Release, Retry
from mainspring.errors import ConfigurationInvalid, InvalidOption, StorageUnavailable
from mainspring.operations import attempts, views
from mainspring.store.database import Transaction
from mainspring.telemetry.metrics import OTHER, TABLE, Measured, Metric, Metrics, registry
from tests.api.conftest import NewApp
from tests.docs.pages import ROOT

GUIDE = ROOT / "docs/guides/telemetry.md"
SOURCE = "".join(path.read_text() for path in sorted((ROOT / "src/mainspring/telemetry").glob("metrics.py")))


def value(app: App, name: str, **labels: str) -> float:
    found = registry(app).get_sample_value(f"mainspring_{name}", labels)
    return 0.0 if found is None else found


def test_what_happens_to_runs_is_counted_by_queue_and_task(new_app: NewApp, back_end: str) -> None:
    app = new_app()
    registry(app)
    app.queue("mail")

    @app.task(name="work", queue="mail", max_attempts=2, backoff=["1ms"])
    def work(how: str) -> None:
        if how == "fail":
            raise RuntimeError
        if how == "give up":
            raise Fail("hopeless")

    @app.task(name="wait", queue="mail")
    def wait(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise Release(after="100ms")
        if ctx.attempt == 2:
            raise Retry(after="1ms", code="later")

    work.enqueue_many([("go",), ("go",), ("fail",), ("give up",)])
    wait.options(key="one").enqueue()
    wait.options(key="one").enqueue()
    assert value(app, "queue_depth", queue="mail") == 5
    assert value(app, "queue_oldest_seconds", queue="mail") > 0
    app.worker(poll="20ms", lease="1s").run(until="empty")

    about = {"queue": "mail", "task": "work"}
    assert value(app, "runs_created_total", **about, outcome="created") == 4
    assert value(app, "runs_created_total", queue="mail", task="wait", outcome="created") == 1
    assert value(app, "runs_created_total", queue="mail", task="wait", outcome="existing") == 1
    assert value(app, "attempts_started_total", **about) == 5
    assert value(app, "attempts_ended_total", **about, outcome="succeeded") == 2
    assert value(app, "attempts_ended_total", **about, outcome="retry_scheduled") == 1
    assert value(app, "attempts_ended_total", **about, outcome="failed") == 2
    assert value(app, "failures_total", **about, code="error") == 2
    assert value(app, "failures_total", **about, code="hopeless") == 1
    assert value(app, "failures_total", queue="mail", task="wait", code="later") == 1
    assert value(app, "retries_total", **about) == 1
    assert value(app, "releases_total", queue="mail", task="wait") == 1
    assert value(app, "attempt_seconds_count", **about) == 5
    assert value(app, "claim_size_sum") == 8
    assert value(app, "lease_renewals_total") >= 1
    assert value(app, "ticks_total") >= 1
    assert value(app, "runs_made_due_total") == 3
    assert value(app, "worker_places") == 16
    assert value(app, "worker_busy_places") == 0
    assert value(app, "store_seconds_count", transaction="worker.turn") >= 2


def test_busy_places_and_the_lag_of_the_loop_are_seen_while_it_works(new_app: NewApp, back_end: str) -> None:
    app = new_app()
    registry(app)
    begun, leave = threading.Event(), threading.Event()

    @app.task(name="work")
    def work() -> None:
        begun.set()
        leave.wait(10)

    work.enqueue()
    worker = app.worker(poll="20ms", concurrency=3)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        assert begun.wait(10)
        assert value(app, "worker_busy_places") == 1
        assert value(app, "worker_places") == 3
    finally:
        leave.set()
        worker.stop()
        thread.join(10)
    assert value(app, "worker_loop_lag_seconds") >= 0


def test_a_worker_serves_them_on_loopback_while_it_runs(new_app: NewApp, back_end: str) -> None:
    app = new_app()
    worker = app.worker(poll="20ms", metrics_port=0)
    heard: list[str] = []

    @app.task(name="work")
    def work() -> None:
        assert worker.served is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.served.port}/metrics", timeout=10) as answer:
            heard.append(answer.read().decode())

    worker = app.worker(poll="20ms", metrics_port=0)
    work.enqueue()
    worker.run(until="drained")
    assert 'mainspring_attempts_started_total{queue="default",task="work"} 1.0' in heard[0]
    assert worker.served is not None
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{worker.served.port}/metrics", timeout=10)


def test_a_port_that_is_taken_and_one_that_cannot_be_are_refused_in_words(idle: App) -> None:
    with pytest.raises(InvalidOption, match="metrics_port must be from 0 to 65535"):
        idle.worker(metrics_port=70_000)
    with idle.worker(metrics_port=0).served.running() as _:  # type: ignore[union-attr]
        pass
    first = idle.worker(metrics_port=0).served
    assert first is not None
    with first.running():
        second = idle.worker(metrics_port=first.port).served
        assert second is not None
        with pytest.raises(ConfigurationInvalid, match="cannot be served"), second.running():
            pass


def away() -> None:
    raise StorageUnavailable("away")


def test_a_label_with_many_values_keeps_the_first_and_counts_the_rest_together() -> None:
    metrics = Metrics(away, "default", most_values=2)
    for task in ("a", "b", "c", "d", "a"):
        metrics.created([("mail", task, "created")])
    found = {
        sample.labels["task"]: sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "mainspring_runs_created_total"
    }
    assert found == {"a": 2, "b": 1, OTHER: 2}


def test_a_database_that_is_away_costs_its_gauges_and_not_the_scrape() -> None:
    text = generate_latest(Metrics(away, "default").registry).decode()
    assert "mainspring_ticks_total" in text
    assert "mainspring_queue_depth{" not in text


def test_a_transaction_that_fails_is_counted_by_its_code() -> None:
    class Away:
        def write(self, name: str, fn: Callable[[object], object]) -> None:
            raise StorageUnavailable("away")

    metrics = Metrics(away, "default")
    with pytest.raises(StorageUnavailable):
        Measured(Away(), metrics).write("worker.turn", lambda tx: None)
    labels = {"transaction": "worker.turn", "code": "storage_unavailable"}
    assert metrics.registry.get_sample_value("mainspring_store_errors_total", labels) == 1


@pytest.mark.parametrize("metric", TABLE, ids=lambda metric: metric.name)
def test_every_metric_of_the_table_is_written_somewhere(metric: Metric) -> None:
    body = SOURCE.partition("class Metrics:")[2]
    assert f'"{metric.name}"' in body


def test_the_guide_has_the_same_table() -> None:
    rows = re.findall(r"^\| `(mainspring_\w+)` \| (\w+) \| ([^|]*) \| ([^|]*) \|$", GUIDE.read_text(), re.MULTILINE)
    told = [(name, kind, tuple(re.findall(r"`(\w+)`", labels)), text.strip()) for name, kind, labels, text in rows]
    assert told == [(metric.name, metric.kind, metric.labels, metric.help) for metric in TABLE]


def test_without_prometheus_client_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from mainspring import App\n"
        "from mainspring.telemetry.metrics import registry\n"
        "try: registry(App('shop'))\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install 'mainspring[metrics]'" in done.stdout


def give_back(app: App) -> None:
    """Take from the worker what it holds, as its reaper would."""

    def fn(tx: Transaction) -> None:
        ((worker,),) = {(worker.id,) for worker in app.workers if worker.state == "live"}
        attempts.give_back(tx, attempts.held(tx, worker), views.policies, actor="test")

    app.client.database.write("test.give_back", fn)


def test_an_outcome_under_an_old_fence_is_counted_as_refused(new_app: NewApp, back_end: str) -> None:
    app = new_app()
    registry(app)
    again = threading.Event()

    @app.task(name="work")
    def work(ctx: Context) -> None:
        if ctx.token == 1:
            give_back(app)
            assert again.wait(10)
        else:
            again.set()
            until(lambda: value(app, "fence_refusals_total") == 1)

    work.enqueue()
    app.worker(poll="20ms").run(until="drained")
    assert value(app, "fence_refusals_total") == 1
    assert value(app, "attempts_ended_total", queue="default", task="work", outcome="succeeded") == 1


def test_a_lease_that_is_lost_under_way_is_counted(new_app: NewApp, back_end: str) -> None:
    app = new_app()
    registry(app)

    @app.task(name="work")
    def work(ctx: Context) -> None:
        if ctx.token == 1:
            app.queues.pause("default")
            give_back(app)
            until(lambda: ctx.is_cancelled)
            app.queues.resume("default")

    work.enqueue()
    app.worker(poll="20ms").run(until="drained")
    assert value(app, "leases_lost_total") == 1


def until(is_so: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2_000):
        if is_so():
            return
        pause.wait(0.005)
    raise AssertionError("it never was so")
