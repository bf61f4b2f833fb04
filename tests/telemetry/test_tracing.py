"""Spans: one trace from the caller's request to the durable end of the run, whatever runs user code, in whatever process.

Not here: what the SDK does with a span.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from mainspring import App, Context, Release, Retry, batch
from mainspring.core.signals import Fail
from mainspring.errors import KeyConflict
from tests.api.conftest import Drain, NewApp

PROGRAM = Path(__file__).with_name("traced.py")
tracer = trace.get_tracer("test")


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def only(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    (span,) = named(spans, name)
    return span


def stored(app: App, run_id: str) -> Any:
    """What the `created` event of a run says of its trace."""
    created = next(iter(app.runs.events(run_id)))
    return (created.data or {}).get("trace")


def is_under(child: ReadableSpan, parent: ReadableSpan) -> bool:
    return child.parent is not None and child.parent.span_id == parent.context.span_id


@pytest.mark.parametrize("kind", ["async", "thread"])
def test_one_trace_leads_from_the_request_to_the_durable_end(
    app: App, drain: Drain, spans: InMemorySpanExporter, kind: str, back_end: str
) -> None:
    def code() -> None:
        with tracer.start_as_current_span("user code"):
            pass

    async def acode() -> None:
        code()

    task = app.task(name="work")(acode if kind == "async" else code)
    with tracer.start_as_current_span("request"):
        run = task.enqueue()
    drain(app)

    chain = ["request", "enqueue default", "run default", "execute work", "user code"]
    for outer, inner in itertools.pairwise(chain):
        assert is_under(only(spans, inner), only(spans, outer)), f"{inner} under {outer}"
    for inner in ("claim default", "finish"):
        assert is_under(only(spans, inner), only(spans, "run default"))
    assert len({span.context.trace_id for span in spans.get_finished_spans()}) == 1
    assert stored(app, run.id).split("-")[2] == f"{only(spans, 'enqueue default').context.span_id:016x}"


def test_spans_tell_what_the_conventions_of_messaging_want(
    app: App, drain: Drain, spans: InMemorySpanExporter, back_end: str
) -> None:
    task = app.task(name="work")(lambda: None)
    with tracer.start_as_current_span("request"):
        run = task.enqueue()
    drain(app)
    kinds = {
        "enqueue default": (SpanKind.PRODUCER, "send"),
        "claim default": (SpanKind.CLIENT, "receive"),
        "run default": (SpanKind.CONSUMER, "process"),
        "finish": (SpanKind.CLIENT, "settle"),
    }
    for name, (kind, operation) in kinds.items():
        span = only(spans, name)
        told = dict(span.attributes or {})
        assert span.kind is kind
        assert told["messaging.system"] == "mainspring"
        assert told["messaging.operation.type"] == operation
        assert told["messaging.operation.name"] == name.partition(" ")[0]
    told = dict(only(spans, "run default").attributes or {})
    assert told["messaging.destination.name"] == "default"
    assert told["messaging.message.id"] == run.id
    assert told["mainspring.task"] == "work"
    assert told["mainspring.attempt"] == 1
    assert told["mainspring.outcome"] == "succeeded"
    assert (only(spans, "enqueue default").attributes or {})["messaging.message.id"] == run.id


def test_every_attempt_is_traced_under_the_same_caller(app: App, drain: Drain, spans: InMemorySpanExporter, back_end: str) -> None:
    @app.task(name="work")
    def work(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise Retry(after="1ms", code="not_yet")
        if ctx.attempt == 2:
            raise Release(after="100ms")

    with tracer.start_as_current_span("request"):
        work.enqueue()
    app.worker(poll="20ms").run(until="empty")
    attempts = named(spans, "run default")
    assert [dict(span.attributes or {})["mainspring.attempt"] for span in attempts] == [1, 2, 3]
    assert all(is_under(span, only(spans, "enqueue default")) for span in attempts)
    assert [span.status.status_code for span in attempts] == [StatusCode.ERROR, StatusCode.UNSET, StatusCode.UNSET]


def test_a_failure_is_told_with_its_code_and_its_exception(
    app: App, drain: Drain, spans: InMemorySpanExporter, back_end: str
) -> None:
    @app.task(name="work")
    def work() -> None:
        raise Fail("bad_address", "nobody lives there")

    work.enqueue()
    drain(app)
    span = only(spans, "execute work")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "bad_address"
    (event,) = span.events
    assert (event.attributes or {})["exception.message"] == "nobody lives there"
    assert (only(spans, "run default").attributes or {})["error.type"] == "bad_address"


def test_a_run_that_nobody_traced_stores_nothing_and_begins_a_trace_of_its_own(
    app: App, drain: Drain, spans: InMemorySpanExporter, back_end: str
) -> None:
    run = app.task(name="work")(lambda: None).enqueue()
    assert stored(app, run.id) is None
    assert not named(spans, "enqueue default")
    drain(app)
    assert only(spans, "run default").parent is None


def test_a_batch_and_many_at_once_are_stored_under_the_span_that_sent_them(
    app: App, spans: InMemorySpanExporter, back_end: str
) -> None:
    work = app.task(name="work")(lambda n: None)
    with tracer.start_as_current_span("request") as request:
        many = work.enqueue_many([(1,), (2,)])
        joined = batch([work.call(3), work.call(4)], then=work.call(5)).enqueue()
    sent = only(spans, "enqueue default")
    assert (sent.attributes or {})["messaging.batch.message_count"] == 2
    assert {stored(app, run.id).split("-")[2] for run in many} == {f"{sent.context.span_id:016x}"}
    assert joined.callback is not None
    for run_id in (*joined.members, joined.callback.id):
        assert stored(app, run_id).split("-")[1] == f"{request.get_span_context().trace_id:032x}"


def test_an_enqueue_that_is_refused_is_an_error_on_its_span(app: App, spans: InMemorySpanExporter, back_end: str) -> None:
    @app.task(name="work", key="the key")
    def work(n: int) -> None: ...

    work.enqueue(1)
    with tracer.start_as_current_span("request"), pytest.raises(KeyConflict):
        work.enqueue(2)
    assert (only(spans, "enqueue default").attributes or {})["error.type"] == "key_conflict"


def test_the_awaited_twin_is_traced_too(app: App, spans: InMemorySpanExporter, back_end: str) -> None:
    task = app.task(name="work")(lambda: None)

    async def main() -> str:
        with tracer.start_as_current_span("request"):
            return (await task.aenqueue()).id

    run_id = asyncio.run(main())
    assert is_under(only(spans, "enqueue default"), only(spans, "request"))
    assert stored(app, run_id)


def test_an_app_that_shall_not_trace_does_not(new_app: NewApp, drain: Drain, spans: InMemorySpanExporter, back_end: str) -> None:
    app = new_app(tracing=False)
    task = app.task(name="work")(lambda: None)
    with tracer.start_as_current_span("request"):
        run = task.enqueue()
    drain(app)
    assert stored(app, run.id) is None
    assert [span.name for span in spans.get_finished_spans()] == ["request"]


def test_what_the_sampler_of_the_caller_dropped_stays_dropped(
    app: App, drain: Drain, spans: InMemorySpanExporter, back_end: str
) -> None:
    task = app.task(name="work")(lambda: None)
    dropped = trace.NonRecordingSpan(trace.SpanContext(7, 7, is_remote=True, trace_flags=trace.TraceFlags(0)))
    with trace.use_span(dropped):
        run = task.enqueue()
    drain(app)
    assert stored(app, run.id).endswith("-00")
    assert not spans.get_finished_spans()


@pytest.mark.parametrize("task", ["waits", "computes"])
def test_the_trace_crosses_processes(app: App, url: str, tmp_path: Path, task: str, back_end: str) -> None:
    told = tmp_path / "spans"

    def program(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, str(PROGRAM), url, str(told), *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    sent = json.loads(program("enqueue", task))
    program("work")
    spans = {span["name"]: span for span in map(json.loads, told.read_text().splitlines())}
    assert {span["trace"] for span in spans.values()} == {sent["trace"]}
    chain = ["request", "enqueue default", "run default", f"execute {task}", "user code"]
    for outer, inner in itertools.pairwise(chain):
        assert spans[inner]["parent"] == spans[outer]["id"], f"{inner} under {outer}"
    assert app.runs.get(sent["run"]).run.state == "succeeded"


def test_without_opentelemetry_nothing_of_it_is_imported() -> None:
    program = (
        "import sys; from mainspring import App; app = App('shop', database='sqlite:///:memory:')\n"
        "task = app.task(name='work')(lambda: None); task.enqueue(); app.worker(poll='20ms').run(until='drained'); app.close()\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'prometheus_client', 'http.server'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
