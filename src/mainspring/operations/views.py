"""Reading: runs, ledgers, attempts, queues, workers. No locks, keyset pages, never a scan that grows with what was asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mainspring.core.events import Event
from mainspring.core.policy import Policy
from mainspring.core.run import Run
from mainspring.core.states import TERMINAL, EventType, State
from mainspring.errors import InvalidOption, UnknownRun, UnknownWorker
from mainspring.operations.moves import as_run
from mainspring.store.database import Transaction

MOST = 500
_LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_FIRST_ID = "00000000-0000-0000-0000-000000000000"
_RUN_COLUMNS = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run with what its lane says, as people and programs read it."""

    run: Run
    task: str
    queue: str
    priority: int
    version: int
    progress: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of a run under one lease, read off the ledger. ``outcome`` None: it is still running."""

    token: int
    worker_id: str
    claimed_at: int
    ended_at: int | None
    outcome: str | None
    code: str | None
    message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """A worker as the fleet sees it."""

    id: str
    state: str
    tasks: tuple[str, ...]
    queues: tuple[str, ...]
    concurrency: int
    started_at: int
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How far a run is, and what its last event says and holds."""

    run_id: str
    state: State
    reason: str | None
    data: dict[str, Any]
    body: bytes | None


def get(tx: Transaction, namespace: str, run_id: str) -> RunView:
    """One run.

    Raises:
        UnknownRun: there is none of that id in this namespace.
    """
    row = tx.one("views.get", id=run_id, namespace=namespace)
    if row is None:
        raise UnknownRun(f"no run {run_id} in namespace {namespace!r}", run_id=run_id)
    return as_view(row)


def listing(
    tx: Transaction,
    namespace: str,
    *,
    states: Sequence[State] | None = None,
    task: str | None = None,
    queue: str | None = None,
    before: str | None = None,
    most: int = 50,
) -> list[RunView]:
    """A page of runs, newest first; ``before`` is the last id of the page before."""
    rows = tx.rows(
        "views.list",
        namespace=namespace,
        states=list(states or State),
        task=task or "",
        queue=queue or "",
        before=before or _LAST_ID,
        most=min(most, MOST),
    )
    return [as_view(row) for row in rows]


def events(tx: Transaction, run_id: str, *, after: int = 0, most: int = MOST) -> list[Event]:
    """A page of a run's ledger, in order; ``after`` is the last ``seq`` of the page before."""
    return [
        Event(
            run_id=row[0],
            seq=row[1],
            type=EventType(row[2]),
            state=State(row[3]),
            at=row[4],
            actor=row[5],
            data=decode_data(row[6]),
            body=row[7],
        )
        for row in tx.rows("views.events", id=run_id, after=after, most=min(most, MOST))
    ]


def attempts(ledger: Sequence[Event]) -> list[Attempt]:
    """The attempts a ledger tells of: each begins with a claim and ends with the next event that leaves the lease."""
    found: list[Attempt] = []
    claimed: Event | None = None
    for event in ledger:
        if event.type is EventType.CLAIMED:
            claimed = event
        elif claimed is not None and event.type is not EventType.CANCEL_REQUESTED:
            found.append(_attempt(len(found) + 1, claimed, event))
            claimed = None
    return found if claimed is None else [*found, _attempt(len(found) + 1, claimed, None)]


def _attempt(token: int, claimed: Event, ended: Event | None) -> Attempt:
    return Attempt(
        token=token,
        worker_id=claimed.actor.removeprefix("worker:"),
        claimed_at=claimed.at,
        ended_at=ended.at if ended else None,
        outcome=ended.type if ended else None,
        code=(ended.data.get("code") or ended.data.get("reason")) if ended else None,
        message=ended.data.get("message") if ended else None,
    )


def endings(tx: Transaction, run_ids: Sequence[str]) -> dict[str, Ending]:
    """The last word on each of these runs; unknown ones are missing."""
    return {
        row[0]: Ending(run_id=row[0], state=State(row[1]), reason=row[2], data=decode_data(row[3]), body=row[4])
        for row in tx.rows("views.outcomes", ids=list(run_ids))
    }


def ended(tx: Transaction, run_ids: Sequence[str]) -> set[str]:
    """Which of these runs have ended."""
    return {row[0] for row in tx.rows("views.states", ids=list(run_ids)) if State(row[1]) in TERMINAL}


def batch_members(tx: Transaction, batch_id: str, *, after: str | None = None, most: int = MOST) -> list[Ending]:
    """A page of a batch's members in member order."""
    rows = tx.rows("batches.members", id=batch_id, after=after or _FIRST_ID, most=min(most, MOST))
    return [Ending(run_id=row[0], state=State(row[1]), reason=row[2], data={}, body=row[3]) for row in rows]


def workers(tx: Transaction, namespace: str, *, most: int = MOST) -> list[WorkerView]:
    """The workers of a namespace, newest first."""
    found = [_worker(row) for row in tx.rows("workers.list", namespace=namespace, most=most)]
    return sorted(found, key=lambda worker: (-worker.started_at, worker.id))  # here: databases disagree on the order of text


def worker(tx: Transaction, namespace: str, worker_id: str) -> WorkerView:
    """One worker.

    Raises:
        UnknownWorker: there is none of that id in this namespace.
    """
    row = tx.one("workers.get", namespace=namespace, id=worker_id)
    if row is None:
        raise UnknownWorker(f"no worker {worker_id!r} in namespace {namespace!r}; it may have been gone for long")
    return _worker(row)


def workers_page(tx: Transaction, namespace: str, *, state: str = "", after: str = "", most: int = MOST) -> list[WorkerView]:
    """A page of the workers of a namespace, by id; ``after`` is the last id of the page before."""
    rows = tx.rows("workers.page", namespace=namespace, state=state, after=after, most=min(most, MOST))
    return [_worker(row) for row in rows]


def _worker(row: Sequence[Any]) -> WorkerView:
    return WorkerView(
        id=row[0],
        state=row[1],
        tasks=tuple(msgspec.json.decode(row[2])),
        queues=tuple(msgspec.json.decode(row[3])),
        concurrency=row[4],
        started_at=row[5],
        expires_at=row[6],
    )


def policies(tx: Transaction, ids: Sequence[int]) -> dict[int, Policy]:
    """Captured policies by id."""
    rows = tx.rows("policies.get", ids=sorted(set(ids)))
    return {row[0]: Policy.from_data(msgspec.json.decode(row[1])) for row in rows}


def bound_page(limit: int) -> int:
    """``limit`` if it is the length of a page.

    Raises:
        InvalidOption: it is not.
    """
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MOST:
        raise InvalidOption(f"limit must be from 1 to {MOST}, got {limit!r}", option="limit")
    return limit


def decode_data(text: str | None) -> dict[str, Any]:
    """Event data as the ledger stores it."""
    return msgspec.json.decode(text, type=dict[str, Any]) if text else {}


def as_view(row: Sequence[Any]) -> RunView:
    """A row of `views.get`, in column order."""
    task, queue, priority, version, progress = row[_RUN_COLUMNS:]
    return RunView(
        run=as_run(row[:_RUN_COLUMNS]),
        task=task,
        queue=queue,
        priority=priority,
        version=version,
        progress=msgspec.json.decode(progress) if progress else None,
    )
