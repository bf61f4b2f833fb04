"""OpenTelemetry: the spans of a run, from the call that enqueued it to its durable end, in one trace across processes.

The caller's W3C ``traceparent`` is stored with the run, and every attempt is traced under it. Not here: what is done with spans,
which is the program's business (a tracer provider, an exporter), and logs.

Nothing of OpenTelemetry is imported unless the program imported it: without its API there is no span to be under. Names and
attributes follow the semantic conventions of messaging.
"""

import sys
from collections.abc import Container, Sequence
from contextvars import Context as Variables
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from mainspring.core.attempts import Failed, Interrupted, Outcome, Stopped, Unworkable
from mainspring.errors import CapabilityUnsupported

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanKind, Tracer

_API = "opentelemetry.trace"
_SYSTEM = "mainspring"
_HEADER = "traceparent"

#: A run's id and the token of one attempt at it.
Fence = tuple[str, int]


class Trace(NamedTuple):
    """Where an attempt belongs: the caller's ``traceparent``, if it had one, and when its claim was asked for and answered
    (UTC µs)."""

    parent: str | None
    asked_at: int
    claimed_at: int


class Subject(Protocol):
    """What a span tells of the run it is about."""

    @property
    def id(self) -> str: ...
    @property
    def token(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def interruptions(self) -> int: ...
    @property
    def releases(self) -> int: ...


def is_wanted(told: bool | None) -> bool:
    """Whether a worker makes spans: as it was told, else whether the program has set a tracer provider.

    Raises:
        CapabilityUnsupported: it was told to, and OpenTelemetry is not installed.
    """
    if told is not None:
        return told and _required() is not None
    api = sys.modules.get(_API)
    return api is not None and not isinstance(api.get_tracer_provider(), api.ProxyTracerProvider)


def _required() -> Any:
    try:
        from opentelemetry import trace
    except ImportError as error:
        raise CapabilityUnsupported(f"tracing needs OpenTelemetry ({error}); run: pip install 'mainspring[otel]'") from None
    return trace


# -- the caller ----------------------------------------------------------------------------------------------------------


class Sending:
    """The span of one enqueue, as a block: the current one inside it, so that its runs are stored under it (``parent``)."""

    def __init__(self, namespace: str, queue: str, task: str, count: int) -> None:
        from opentelemetry.trace import SpanKind

        about: dict[str, Any] = _about(namespace, queue, task, operation="enqueue", kind="send")
        if count > 1:
            about["messaging.batch.message_count"] = count
        self._span = _tracer().start_span(f"enqueue {queue}", kind=SpanKind.PRODUCER, attributes=about)
        self._token: Any = None

    def tell(self, run_ids: Sequence[str]) -> None:
        """Which runs it was."""
        if len(run_ids) == 1:
            self._span.set_attribute("messaging.message.id", run_ids[0])

    def __enter__(self) -> Self:
        from opentelemetry import context
        from opentelemetry.trace import set_span_in_context

        self._token = context.attach(set_span_in_context(self._span))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None:
            _blame(self._span, getattr(error, "code", type(error).__qualname__), str(error))
        self._span.end()
        from opentelemetry import context

        context.detach(self._token)


def sending(namespace: str, queue: str, task: str, count: int) -> Sending | None:
    """The span of an enqueue under the caller's span; None where the caller has none, at the price of a look into a dict."""
    api = sys.modules.get(_API)
    if api is None or not api.get_current_span().get_span_context().is_valid:
        return None
    return Sending(namespace, queue, task, count)


def parent() -> str | None:
    """The ``traceparent`` of the current span, to be stored with a run; None where there is none, at the same price."""
    api = sys.modules.get(_API)
    if api is None:
        return None
    span = api.get_current_span()
    return _traceparent(span) if span.get_span_context().is_valid else None


# -- the worker ----------------------------------------------------------------------------------------------------------


class _Trail(NamedTuple):
    """The spans of one attempt: all of it, and the part that user code takes."""

    whole: "Span"
    work: "Span"


class Spans:
    """The spans of one worker's attempts. Calls come from its loop and from the thread of its steps; each fence ends once.

    ``run`` lasts from the claim to the durable outcome, with ``claim``, ``execute`` (user code) and ``finish`` inside.
    """

    def __init__(self, namespace: str, worker_id: str) -> None:
        self._tracer = _tracer()
        self._namespace = namespace
        self._worker_id = worker_id
        self._trails: dict[Fence, _Trail] = {}
        self._finishing: dict[Fence, tuple[Span, Span]] = {}

    def began(self, run: Subject, trace: Trace, *, queue: str, task: str) -> Variables:
        """User code is about to begin: the variables to run it with, in which its span is the current one."""
        from opentelemetry import context
        from opentelemetry.trace import SpanKind, set_span_in_context

        about = _about(self._namespace, queue, task, operation="run", kind="process") | {
            "messaging.message.id": run.id,
            "messaging.client.id": self._worker_id,
            "mainspring.attempt": run.failures + run.interruptions + run.releases + 1,
        }
        parent = _remote(trace.parent)
        whole = self._start(f"run {queue}", SpanKind.CONSUMER, parent, about, trace.asked_at)
        inside = set_span_in_context(whole, parent)
        claim = _about(self._namespace, queue, task, operation="claim", kind="receive")
        self._start(f"claim {queue}", SpanKind.CLIENT, inside, claim, trace.asked_at).end(trace.claimed_at * 1000)
        work = self._start(f"execute {task}", SpanKind.INTERNAL, inside, {"mainspring.task": task})
        self._trails[run.id, run.token] = _Trail(whole, work)
        variables = copy_context()
        variables.run(context.attach, set_span_in_context(work, inside))
        return variables

    def parent_of(self, fence: Fence) -> str | None:
        """What a process that runs this attempt's code is told."""
        trail = self._trails.get(fence)
        return None if trail is None else _traceparent(trail.work)

    def ended(self, fence: Fence, outcome: Outcome, *, lost: bool = False) -> None:
        """User code is over; what is left is to write that down, unless the lease was lost: then nothing will be."""
        from opentelemetry.trace import SpanKind, set_span_in_context

        trail = self._trails.pop(fence, None)
        if trail is None:
            return
        if lost:
            _end_as_lost(trail.work, trail.whole)
            return
        _tell_outcome(trail.work, outcome)
        trail.work.end()
        trail.whole.set_attribute("mainspring.outcome", type(outcome).__name__.lower())
        if (code := _error_of(outcome)) is not None:
            _blame(trail.whole, code, "")
        about = {"messaging.system": _SYSTEM, "messaging.operation.name": "finish", "messaging.operation.type": "settle"}
        finish = self._start("finish", SpanKind.CLIENT, set_span_in_context(trail.whole), about)
        self._finishing[fence] = (trail.whole, finish)

    def settled(self, fences: Sequence[Fence], lost: Container[Fence]) -> None:
        """These outcomes are durable; those that are ``lost`` were refused, because the lease was."""
        for fence in fences:
            self._settle(fence, lost=fence in lost)

    def _settle(self, fence: Fence, *, lost: bool) -> None:
        whole, finish = self._finishing.pop(fence, (None, None))
        if finish is None or whole is None:
            return
        if lost:
            _end_as_lost(finish, whole)
        else:
            finish.end()
            whole.end()

    def close(self) -> None:
        """End what nobody will end any more."""
        for fence in tuple(self._trails):
            self.ended(fence, Stopped(), lost=True)
        for fence in tuple(self._finishing):
            self._settle(fence, lost=False)

    def _start(self, name: str, kind: "SpanKind", parent: Any, about: dict[str, Any], at: int | None = None) -> "Span":
        return self._tracer.start_span(
            name, context=parent, kind=kind, attributes=about, start_time=None if at is None else at * 1000
        )


def under(parent: str | None) -> Variables:
    """Variables in which the span of that ``traceparent`` is the current one: for user code in a process of its own."""
    variables = copy_context()
    if parent is not None:
        from opentelemetry import context

        variables.run(context.attach, _remote(parent))
    return variables


# -- spans ---------------------------------------------------------------------------------------------------------------


def _tracer() -> "Tracer":
    return _required().get_tracer(_SYSTEM)  # type: ignore[no-any-return]


def _about(namespace: str, queue: str, task: str, *, operation: str, kind: str) -> dict[str, Any]:
    return {
        "messaging.system": _SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.destination.name": queue,
        "mainspring.namespace": namespace,
        "mainspring.task": task,
    }


def _remote(parent: str | None) -> Any:
    """The context of a stored ``traceparent``; an empty one, which begins a new trace, where there is none."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {} if parent is None else {_HEADER: parent}
    return TraceContextTextMapPropagator().extract(carrier, context=Context())


def _traceparent(span: "Span") -> str | None:
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, context=set_span_in_context(span))
    return carrier.get(_HEADER)


def _error_of(outcome: Outcome) -> str | None:
    match outcome:
        case Failed(code=code) | Interrupted(code=code) | Unworkable(code=code):
            return code
        case Stopped():
            return "cancelled"
        case _:
            return None


def _tell_outcome(span: "Span", outcome: Outcome) -> None:
    code = _error_of(outcome)
    if isinstance(outcome, Failed):
        told = {"exception.type": outcome.type, "exception.message": outcome.message, "exception.stacktrace": outcome.traceback}
        span.add_event("exception", {key: value for key, value in told.items() if value is not None})
    if code is not None:
        _blame(span, code, outcome.message if isinstance(outcome, Failed) else "")


def _end_as_lost(*spans: "Span") -> None:
    for span in spans:
        _blame(span, "lease_lost", "the run belongs to a newer attempt")
        span.end()


def _blame(span: "Span", code: str, message: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", code)
    span.set_status(Status(StatusCode.ERROR, message or None))
