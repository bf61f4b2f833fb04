"""Prometheus metrics: one table of what there is, and the object that counts it for one app in this process.

``registry(app)`` gives them to a server of yours, ``app.worker(metrics_port=9100)`` serves them on loopback. Off, which is the
default, they cost a look at ``None`` for each batch. Not here: dashboards and rules, and what is counted when (``client``,
``runtime``).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mainspring.core.attempts import Failed, Stopped, settle
from mainspring.core.states import EventType, State
from mainspring.errors import CapabilityUnsupported, ConfigurationInvalid, InvalidOption, MainspringError
from mainspring.operations import telemetry
from mainspring.operations.attempts import Ended
from mainspring.system import RealSystem

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Kind = Literal["counter", "gauge", "histogram"]

#: So many values of one label are told apart; those that come later are counted together, as ``other``.
MOST_VALUES = 100
OTHER = "other"
LOOPBACK = "127.0.0.1"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)
_SIZES = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_DEPTHS_KEPT_US = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric as the documentation tells it."""

    name: str
    kind: Kind
    labels: tuple[str, ...] = ()
    help: str
    buckets: tuple[float, ...] = ()


def _counter(name: str, labels: tuple[str, ...], told: str) -> Metric:
    return Metric(name=f"mainspring_{name}_total", kind="counter", labels=labels, help=told)


def _gauge(name: str, labels: tuple[str, ...], told: str) -> Metric:
    return Metric(name=f"mainspring_{name}", kind="gauge", labels=labels, help=told)


def _histogram(name: str, labels: tuple[str, ...], told: str, buckets: tuple[float, ...] = _SECONDS) -> Metric:
    return Metric(name=f"mainspring_{name}", kind="histogram", labels=labels, help=told, buckets=buckets)


_TASK = ("queue", "task")

#: Every metric there is. docs/guides/telemetry.md has the same table, and a test holds the two together.
TABLE = (
    _counter("runs_created", (*_TASK, "outcome"), "Calls to enqueue by what they got: created, existing and so on."),
    _counter("attempts_started", _TASK, "Attempts handed to the executor."),
    _counter("attempts_ended", (*_TASK, "outcome"), "Attempts whose end is durable, by what it means for the run."),
    _counter("failures", (*_TASK, "code"), "Attempts that failed, by code."),
    _counter("retries", _TASK, "Failures after which the run is tried again."),
    _counter("releases", _TASK, "Attempts that gave their run back to come again later."),
    _counter("interruptions", (*_TASK, "code"), "Attempts of this worker that were cut off by no fault of their own."),
    _histogram("attempt_seconds", _TASK, "How long user code ran."),
    _gauge("queue_depth", ("queue",), "Runs that could be claimed now; 10,000 are counted at most."),
    _gauge("queue_oldest_seconds", ("queue",), "For how long the oldest of them has been due."),
    _histogram("claim_size", (), "Runs got by one claim that had room for some.", _SIZES),
    _counter("lease_renewals", (), "Renewals of this worker's lease, each for everything it holds."),
    _counter("leases_lost", (), "Runs this worker held that belong to somebody else by now."),
    _counter("fence_refusals", (), "Outcomes and checkpoints that were refused, for a newer attempt has the run."),
    _histogram("store_seconds", ("transaction",), "How long a transaction took, by its name, retries included."),
    _counter("store_errors", ("transaction", "code"), "Transactions that failed, by their name and the error's code."),
    _gauge("worker_places", (), "Attempts that may run at once in this process."),
    _gauge("worker_busy_places", (), "Attempts that run now, with the threads that were left alone."),
    _gauge("worker_loop_lag_seconds", (), "How late the event loop was when it was last looked at."),
    _counter("ticks", (), "Looks of this process at what is due, lapsed or to be forgotten."),
    _counter("runs_made_due", (), "Waiting runs that this process queued because their time had come."),
    _counter("runs_reaped", (), "Runs that this process took from workers that are gone."),
    _counter("slots_swept", (), "Reserved slots of limits that this process freed because nobody took them up in time."),
)


class _Lane(Protocol):
    """What a metric tells of a run."""

    @property
    def queue(self) -> str: ...
    @property
    def task(self) -> str: ...


class _Observed(Protocol):
    """What ``registry`` asks of an app."""

    def observe(self) -> "Metrics": ...


def registry(app: _Observed) -> "CollectorRegistry":
    """The Prometheus registry of an app in this process; the first call begins to count. Make it before workers start.

    Raises:
        CapabilityUnsupported: prometheus-client is not installed.
    """
    return app.observe().registry


class Served:
    """Metrics by HTTP on the loopback address, for the length of a block; on a port that the system chooses where it is 0."""

    def __init__(self, metrics: "Metrics", port: int) -> None:
        if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65_535:
            raise InvalidOption(f"metrics_port must be from 0 to 65535, not {port!r}", option="metrics_port")
        self._metrics = metrics
        self.port = port

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve.

        Raises:
            ConfigurationInvalid: the port is taken.
        """
        import prometheus_client

        try:
            server, thread = prometheus_client.start_http_server(self.port, addr=LOOPBACK, registry=self._metrics.registry)
        except OSError as error:
            raise ConfigurationInvalid(f"metrics cannot be served on {LOOPBACK}:{self.port}: {error.strerror or error}") from None
        self.port = server.server_port
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class Metrics:
    """Counts for one app. Calls come from any thread; each is for a batch."""

    def __init__(self, database: Callable[[], Any], namespace: str, *, most_values: int = MOST_VALUES) -> None:
        try:
            import prometheus_client
        except ImportError as error:
            raise CapabilityUnsupported(
                f"metrics need prometheus-client ({error}); run: pip install 'mainspring[metrics]'"
            ) from None
        self.clock = RealSystem().monotonic
        self.registry = prometheus_client.CollectorRegistry(auto_describe=True)
        self._most_values = most_values
        self._values: dict[str, set[str]] = {}
        self._depths = _Depths(self.clock, database, namespace)
        self._children: dict[tuple[str, ...], Any] = {}
        self._metrics = {metric.name: _made(prometheus_client, metric, self.registry) for metric in TABLE}
        self._busy: Callable[[], int] = lambda: 0
        self._metrics["mainspring_worker_busy_places"].set_function(self._busy_now)
        self.registry.register(_AtScrape(self._waiting))

    # -- the client ---------------------------------------------------------------------------------------------------------

    def created(self, calls: Sequence[tuple[str, str, str]]) -> None:
        """Calls to enqueue: queue, task and outcome of each."""
        counted: dict[tuple[str, str, str], int] = {}
        for call in calls:
            counted[call] = counted.get(call, 0) + 1
        for call, count in counted.items():
            self._of("mainspring_runs_created_total", *call).inc(count)

    def stored(self, transaction: str, micros: int, error: BaseException | None) -> None:
        """A transaction is over."""
        self._of("mainspring_store_seconds", transaction).observe(micros / 1e6)
        if error is not None:
            code = error.code if isinstance(error, MainspringError) else type(error).__name__
            self._of("mainspring_store_errors_total", transaction, code).inc()

    # -- the worker ---------------------------------------------------------------------------------------------------------

    def working(self, places: int, busy: Callable[[], int]) -> None:
        """A worker began."""
        self._of("mainspring_worker_places").set(places)
        self._busy = busy

    def _busy_now(self) -> int:
        return self._busy()

    def lagged(self, seconds: float) -> None:
        """The loop was looked at."""
        self._of("mainspring_worker_loop_lag_seconds").set(max(0.0, seconds))

    def ran(self, lane: "_Lane", seconds: float | None) -> None:
        """User code is over, if it ever began."""
        if seconds is not None:
            self._of("mainspring_attempt_seconds", lane.queue, lane.task).observe(seconds)

    def turned(
        self,
        ended: Sequence[Ended],
        lost: Collection[tuple[str, int]],
        claims: Sequence[Any],
        lanes: Mapping[int, "_Lane"],
        *,
        had_room: bool,
        renewed: bool,
    ) -> None:
        """A step of a worker was committed."""
        if lost:
            self._of("mainspring_fence_refusals_total").inc(len(lost))
        for end in ended:
            if (end.held.id, end.held.token) not in lost:
                self._ended(end, lanes[end.held.lane_id])
        started: dict[tuple[str, str], int] = {}
        for claim in claims:
            about = (claim.lane.queue, claim.lane.task)
            started[about] = started.get(about, 0) + 1
        for about, count in started.items():
            self._of("mainspring_attempts_started_total", *about).inc(count)
        if had_room:
            self._of("mainspring_claim_size").observe(len(claims))
        if renewed:
            self._of("mainspring_lease_renewals_total").inc()

    def lost(self) -> None:
        """A run in hand is somebody else's."""
        self._of("mainspring_leases_lost_total").inc()

    def ticked(self, due: int, reaped: int, swept: int) -> None:
        """Maintenance had a look."""
        self._of("mainspring_ticks_total").inc()
        self._of("mainspring_runs_made_due_total").inc(due)
        self._of("mainspring_runs_reaped_total").inc(reaped)
        self._of("mainspring_slots_swept_total").inc(swept)

    def _ended(self, end: Ended, lane: "_Lane") -> None:
        about = (lane.queue, lane.task)
        if isinstance(end.outcome, Stopped):
            self._of("mainspring_attempts_ended_total", *about, "cancelled").inc()
            return
        change = settle(end.held, State.RUNNING, end.outcome, end.policy, draw=end.draw, actor="")
        self._of("mainspring_attempts_ended_total", *about, str(change.type)).inc()
        if isinstance(end.outcome, Failed):
            self._of("mainspring_failures_total", *about, end.outcome.code).inc()
        match change.type:
            case EventType.RETRY_SCHEDULED:
                self._of("mainspring_retries_total", *about).inc()
            case EventType.RELEASED:
                self._of("mainspring_releases_total", *about).inc()
            case EventType.INTERRUPTED:
                self._of("mainspring_interruptions_total", *about, getattr(end.outcome, "code", "interrupted")).inc()
            case _:
                pass

    # -- labels and scrapes -------------------------------------------------------------------------------------------------

    def _of(self, name: str, *values: str) -> Any:
        """A metric under these label values, each bounded in number."""
        child = self._children.get((name, *values))
        if child is None:
            child = metric = self._metrics[name]
            if values:
                labels = next(each.labels for each in TABLE if each.name == name)
                bounded = [self._bounded(label, value) for label, value in zip(labels, values, strict=True)]
                child = metric.labels(*bounded)
                if list(values) != bounded:
                    return child  # remembering every value that is told apart no more would be a leak
            self._children[(name, *values)] = child
        return child

    def _bounded(self, label: str, value: str) -> str:
        seen = self._values.setdefault(label, set())
        if value in seen:
            return value
        if len(seen) >= self._most_values:
            return OTHER
        seen.add(value)
        return value

    def _waiting(self) -> Sequence[telemetry.QueueDepth]:
        return self._depths.now()[: self._most_values]


class _Depths:
    """What waits in the queues, read at scrapes and at most every five seconds, however many scrape."""

    def __init__(self, clock: Callable[[], int], database: Callable[[], Any], namespace: str) -> None:
        self._clock = clock
        self._database = database
        self._namespace = namespace
        self._read_at: int | None = None
        self._last: Sequence[telemetry.QueueDepth] = ()

    def now(self) -> Sequence[telemetry.QueueDepth]:
        """The last look, or a new one; nothing while the database is away, as that is what a scrape should show."""
        now = self._clock()
        if self._read_at is None or now - self._read_at >= _DEPTHS_KEPT_US:
            self._read_at = now
            try:
                self._last = self._database().read("telemetry.queues", lambda tx: telemetry.queue_depths(tx, self._namespace))
            except MainspringError:
                self._last = ()
        return self._last


class _AtScrape:
    """The gauges that are read when Prometheus asks."""

    def __init__(self, waiting: Callable[[], Sequence[telemetry.QueueDepth]]) -> None:
        self._waiting = waiting

    def describe(self) -> Sequence[Any]:
        """What there is, without asking the database."""
        from prometheus_client.core import GaugeMetricFamily

        told = {metric.name: metric.help for metric in TABLE}
        names = ("mainspring_queue_depth", "mainspring_queue_oldest_seconds")
        return [GaugeMetricFamily(name, told[name], labels=["queue"]) for name in names]

    def collect(self) -> Sequence[Any]:
        """What waits now."""
        depth, oldest = self.describe()
        for each in self._waiting():
            depth.add_metric([each.queue], each.queued)
            oldest.add_metric([each.queue], each.oldest_us / 1e6)
        return [depth, oldest]


def _made(library: Any, metric: Metric, into: Any) -> Any:
    """A metric of the table in Prometheus' own classes; what is read at a scrape has none."""
    if metric.name.startswith("mainspring_queue_"):
        return None
    kinds = {"counter": library.Counter, "gauge": library.Gauge, "histogram": library.Histogram}
    options = {"buckets": metric.buckets} if metric.buckets else {}
    return kinds[metric.kind](metric.name.removesuffix("_total"), metric.help, metric.labels, registry=into, **options)


# -- the store -----------------------------------------------------------------------------------------------------------


class Measured:
    """A database whose transactions are timed by name. Everything else is the database's own."""

    def __init__(self, database: Any, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._database, name)
        return self._timed(found) if name in {"write", "read", "single"} else found

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(name: str, *args: Any, **params: Any) -> Any:
            began, failed = self._metrics.clock(), None
            try:
                return call(name, *args, **params)
            except BaseException as error:
                failed = error
                raise
            finally:
                self._metrics.stored(name, self._metrics.clock() - began, failed)

        return timed
