"""A run as the API tells of it: in a list, in full, its ledger, its attempts, and why it is where it is. Translation only."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec

from mainspring.client.values import stored
from mainspring.core import explaining
from mainspring.core.events import Event as LedgerEvent
from mainspring.operations import views
from mainspring.operations.receipts import ReceiptRow
from mainspring.targets.receipts import Receipt
from mainspring.web.api.shapes import Id, Instant, at, at_or_none

#: What the ledger holds for the database alone.
_INTERNAL = frozenset({"lane", "policy", "trace"})


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run. ``attempts`` is how often it was claimed; ``progress`` what the attempt that has it says of itself."""

    id: Id
    task: str
    queue: str
    priority: int
    version: int
    state: str
    reason: str | None
    attempts: int
    failures: int
    interruptions: int
    releases: int
    due_at: Instant
    worker_id: str | None
    key: str | None
    singleton: str | None
    batch_id: Id | None
    rerun_of: Id | None
    expires_at: Instant | None
    deadline_at: Instant | None
    cancel_requested_at: Instant | None
    created_at: Instant
    ended_at: Instant | None
    progress: Any


class RunDetail(Run, frozen=True, kw_only=True):
    """A run in full. ``why``: what it waits for, in words."""

    why: str | None
    attributes: dict[str, Any]
    payload: Any
    result: Any
    failure: dict[str, Any] | None


class RunPage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A page of runs. ``total`` where it was asked for, counted up to 10,000."""

    data: list[Run]
    next_cursor: str | None
    total: int | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a ledger. ``state`` is the one the run was in afterwards; ``body`` a payload or a result."""

    seq: int
    type: str
    state: str
    at: Instant
    actor: str
    data: dict[str, Any]
    body: Any


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a ledger."""

    data: list[Event]
    next_cursor: str | None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a run under one lease. No ``outcome``: it is running."""

    attempt: int
    worker_id: str
    claimed_at: Instant
    ended_at: Instant | None
    outcome: str | None
    code: str | None
    message: str | None


class AttemptList(msgspec.Struct, frozen=True, kw_only=True):
    """The attempts of a run, in order."""

    data: list[Attempt]


class ReceiptEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt left, without what it holds: ``size`` bytes there were, ``kept`` are there. ``n`` is its number."""

    n: int
    attempt: int
    kind: str
    size: int
    kept: int
    is_truncated: bool
    sha256: str
    at: Instant


class ReceiptList(msgspec.Struct, frozen=True, kw_only=True):
    """What the attempts of a run left, in order."""

    data: list[ReceiptEntry]


class ReceiptDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One receipt. ``text`` is for people; ``head`` and ``tail`` are the bytes that are kept, in base64, and ``between`` counts
    those that are not."""

    kind: str
    size: int
    sha256: str
    text: str
    head: bytes
    tail: bytes
    between: int
    facts: dict[str, Any]


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A run that holds part of a limit."""

    run_id: Id
    since: Instant | None


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that keeps a run from starting; ``until`` when it ends by itself, ``likely`` when it will at a guess."""

    kind: str
    text: str
    subject: str | None
    until: Instant | None
    likely: Instant | None
    holders: list[Holder]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where in its queue a run stands, counted to 1,000."""

    runs_ahead: int
    lanes_ahead: int
    lanes_beside: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run is where it is. ``is_unexplained``: nothing we know of holds it, which is a bug."""

    id: Id
    state: str
    summary: str
    holds: list[Hold]
    place: Place | None
    earliest_at: Instant | None
    likely_at: Instant | None
    unknown: str | None
    is_unexplained: bool


def run(view: views.RunView) -> Run:
    """A run."""
    row = view.run
    return Run(
        id=row.id,
        task=view.task,
        queue=view.queue,
        priority=view.priority,
        version=view.version,
        state=row.state,
        reason=row.reason,
        attempts=row.token,
        failures=row.failures,
        interruptions=row.interruptions,
        releases=row.releases,
        due_at=at(row.due_at),
        worker_id=row.worker_id,
        key=row.idempotency_key,
        singleton=row.singleton_key,
        batch_id=row.batch_id,
        rerun_of=row.rerun_of,
        expires_at=at_or_none(row.expires_at),
        deadline_at=at_or_none(row.deadline_at),
        cancel_requested_at=at_or_none(row.cancel_requested_at),
        created_at=at(row.created_at),
        ended_at=at_or_none(row.ended_at),
        progress=view.progress,
    )


def event(entry: LedgerEvent) -> Event:
    """An entry of a ledger."""
    data = {name: value for name, value in entry.data.items() if name not in _INTERNAL}
    return Event(
        seq=entry.seq, type=entry.type, state=entry.state, at=at(entry.at), actor=entry.actor, data=data, body=stored(entry.body)
    )


def attempt(each: views.Attempt) -> Attempt:
    """An attempt."""
    return Attempt(
        attempt=each.token, worker_id=each.worker_id, claimed_at=at(each.claimed_at), ended_at=at_or_none(each.ended_at),
        outcome=each.outcome, code=each.code, message=each.message,
    )  # fmt: skip


def receipt_entry(n: int, row: ReceiptRow) -> ReceiptEntry:
    """A receipt in a list."""
    return ReceiptEntry(
        n=n, attempt=row.attempt, kind=row.kind, size=row.size, kept=row.kept, is_truncated=row.is_truncated, sha256=row.sha256,
        at=at(row.at),
    )  # fmt: skip


def receipt(kept: Receipt) -> ReceiptDetail:
    """A receipt with what it holds."""
    return ReceiptDetail(
        kind=kept.kind, size=kept.size, sha256=kept.sha256, text=kept.text, head=kept.head, tail=kept.tail, between=kept.between,
        facts=kept.facts,
    )  # fmt: skip


def explanation(found: explaining.Explanation) -> Explanation:
    """Why a run is where it is."""
    place = found.place
    ahead = None if place is None else Place(**asdict(place))
    return Explanation(
        id=found.run_id,
        state=found.state,
        summary=found.summary,
        holds=[_hold(each) for each in found.holds],
        place=ahead,
        earliest_at=at_or_none(found.earliest_at),
        likely_at=at_or_none(found.likely_at),
        unknown=found.unknown,
        is_unexplained=found.is_unexplained,
    )  # fmt: skip


def _hold(each: explaining.Hold) -> Hold:
    holders = [Holder(run_id=holder.run_id, since=at_or_none(holder.since)) for holder in each.holders]
    return Hold(
        kind=each.kind, text=each.text, subject=each.subject, until=at_or_none(each.until), likely=at_or_none(each.likely),
        holders=holders,
    )  # fmt: skip
