"""Endpoints of runs: create, find, look, act. Acts on many: ``bulk_actions``; following a ledger: ``following``."""

from __future__ import annotations

from typing import Any

import msgspec

from mainspring.client import Handle
from mainspring.client.asking import Wish, request_by_name
from mainspring.core.access import Operation
from mainspring.errors import (
    InvalidOption,
    KeyConflict,
    NotTerminal,
    NotWaiting,
    QueueFull,
    RunTerminal,
    UnknownReceipt,
    UnknownRun,
)
from mainspring.web.api.filters import Found, keywords
from mainspring.web.api.following import follow_run
from mainspring.web.api.found import (
    Attempt,
    AttemptList,
    Explanation,
    Ledger,
    ReceiptDetail,
    ReceiptList,
    RunDetail,
    RunPage,
    attempt,
    explanation,
    receipt,
    receipt_entry,
    run,
)
from mainspring.web.api.found import event as told_event
from mainspring.web.api.shapes import Id, Instant, Key, Name, PageSize, Priority, Reason, Span, Text, id_cursor
from mainspring.web.endpoints import Answered, Asked, Body, Nothing, Scoped, acts, reads

Attribute = str | bool | int | float
_MOST_COUNTED = 10_000


class RunQuery(Found, frozen=True, kw_only=True):
    """Query parameters of the list: a filter and a page."""

    limit: PageSize = 50
    cursor: str | None = None
    total: bool = False


class EventQuery(Scoped, frozen=True, kw_only=True):
    """Query parameters of a ledger: ``cursor`` is ``next_cursor`` of the page before."""

    limit: PageSize = 500
    cursor: str | None = None


class NewRun(Body, frozen=True, kw_only=True):
    """A run to create. ``payload`` holds the task's arguments by name; its worker checks them."""

    task: Name
    payload: dict[str, Any] = msgspec.field(default_factory=dict)
    queue: Name = "default"
    priority: Priority = 0
    version: int = 1
    at: Instant | None = None
    delay: Span | None = None
    key: Key | None = None
    singleton: Key | None = None
    attributes: dict[str, Attribute] = msgspec.field(default_factory=dict)


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was asked for. ``outcome``: ``created``, or ``existing``, ``skipped`` and so on by its keys."""

    id: Id
    outcome: str


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The state a run is in now."""

    id: Id
    state: str


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """Whether anything was changed: False, if it was so already."""

    id: Id
    changed: bool


class Cancel(Body, frozen=True, kw_only=True):
    """Why it is cancelled; needed where a run needs attention."""

    reason: Text | None = None


class Because(Body, frozen=True, kw_only=True):
    """Why; it goes into the ledger."""

    reason: Reason


class Retry(Body, frozen=True, kw_only=True):
    """``with_dependants``: runs that ended ``upstream_failed`` behind it, too."""

    with_dependants: bool = False


class Rerun(Body, frozen=True, kw_only=True):
    """``payload``: other arguments than last time."""

    payload: dict[str, Any] | None = None


class When(Body, frozen=True, kw_only=True):
    """An instant, or how long from now; neither is now."""

    at: Instant | None = None
    delay: Span | None = None


class NewPriority(Body, frozen=True, kw_only=True):
    """The new priority: higher is claimed first."""

    priority: Priority


def list_runs(asked: Asked[RunQuery, Nothing]) -> RunPage:
    """The runs that are as asked, newest first. A page may be short and yet have a ``next_cursor``: the search goes on there.
    ``total=true`` counts what matches, up to 10,000."""
    wanted, query = keywords(asked.query), asked.query
    page = asked.client.runs.find(limit=query.limit, cursor=id_cursor(query.cursor), **wanted)
    total = asked.client.runs.count(most=_MOST_COUNTED, **wanted) if query.total else None
    return RunPage(data=[run(view) for view in page.data], next_cursor=page.next_cursor, total=total)


def create_run(asked: Asked[Scoped, NewRun]) -> Answered:
    """Create a run of a task by name. ``key`` makes it the same run for all who use the key; 200 if it was there already."""
    said = msgspec.structs.asdict(asked.body)
    task, payload = said.pop("task"), said.pop("payload")
    client = asked.client
    (handle,) = client.submit([request_by_name(client.namespace, task, payload, Wish(**said, run_id=asked.new_id))])
    return _made(handle)


def get_run(asked: Asked[Scoped, Nothing]) -> RunDetail:
    """One run: where it is and why, what it was given, and what it came to."""
    runs, run_id = asked.client.runs, asked.path["run_id"]
    view, values = runs.get(run_id), runs.values(run_id)
    return RunDetail(
        **msgspec.structs.asdict(run(view)),
        why=runs.why(run_id),
        attributes=dict(runs.attributes(run_id)),
        payload=values.payload,
        result=values.result,
        failure=values.failure,
    )


def list_events(asked: Asked[EventQuery, Nothing]) -> Ledger:
    """The ledger of a run: all that ever happened to it, in order. With ``Accept: text/event-stream`` it is followed instead."""
    query = asked.query
    if query.cursor is not None and not (query.cursor.isdecimal() and len(query.cursor) < 10):
        raise InvalidOption("cursor is no cursor of a ledger; give next_cursor of the page before", option="cursor")
    events = asked.client.runs.events(asked.path["run_id"], after=int(query.cursor or 0), limit=query.limit)
    return Ledger(
        data=[told_event(each) for each in events], next_cursor=str(events[-1].seq) if len(events) == query.limit else None
    )


def list_attempts(asked: Asked[Scoped, Nothing]) -> AttemptList:
    """The attempts of a run: who tried, when, and how each ended."""
    tried: list[Attempt] = [attempt(each) for each in asked.client.runs.attempts(asked.path["run_id"])]
    return AttemptList(data=tried)


def list_receipts(asked: Asked[Scoped, Nothing]) -> ReceiptList:
    """What the attempts of a run without user code left: answers of servers, output of programs."""
    rows = asked.client.runs.receipts(asked.path["run_id"])
    return ReceiptList(data=[receipt_entry(n, row) for n, row in enumerate(rows)])


def get_receipt(asked: Asked[Scoped, Nothing]) -> ReceiptDetail:
    """One receipt of a run, by its number in the list."""
    n = asked.path["n"]
    if not (n.isascii() and n.isdigit() and len(n) < 7):
        raise UnknownReceipt(f"receipts are numbered from 0, and {n[:20]!r} is no number", run_id=asked.path["run_id"])
    return receipt(asked.client.runs.receipt(asked.path["run_id"], int(n)))


def explain_run(asked: Asked[Scoped, Nothing]) -> Explanation:
    """Why a run is where it is: everything that holds it, in the order a claim meets it, and when it can start."""
    return explanation(asked.client.runs.explain(asked.path["run_id"]))


def cancel_run(asked: Asked[Scoped, Cancel]) -> State:
    """Cancel a run: ``cancelled`` at once where nobody runs it, else ``cancelling``."""
    run_id = asked.path["run_id"]
    return State(id=run_id, state=asked.client.runs.cancel(run_id, reason=asked.body.reason))


def retry_run(asked: Asked[Scoped, Retry]) -> Answered:
    """Try a failed or cancelled run again, as a new run linked to it; 200 if that is under way already."""
    return _made(asked.client.runs.retry(asked.path["run_id"], with_dependants=asked.body.with_dependants))


def rerun_run(asked: Asked[Scoped, Rerun]) -> Answered:
    """Run again what has ended, however it ended: a new run linked to it, with fresh budgets."""
    return _made(asked.client.runs.rerun(asked.path["run_id"], asked.body.payload, new_id=asked.new_id))


def release_run(asked: Asked[Scoped, Because]) -> State:
    """Queue a run that needs attention again."""
    run_id = asked.path["run_id"]
    asked.client.runs.release(run_id, asked.body.reason)
    return State(id=run_id, state="queued")


def fail_run(asked: Asked[Scoped, Because]) -> State:
    """Fail a run that needs attention."""
    run_id = asked.path["run_id"]
    asked.client.runs.fail(run_id, asked.body.reason)
    return State(id=run_id, state="failed")


def reschedule_run(asked: Asked[Scoped, When]) -> State:
    """Make a waiting run due at an instant, so long from now, or now."""
    run_id, when = asked.path["run_id"], asked.body
    if when.at is None and when.delay is None:
        return State(id=run_id, state=asked.client.runs.run_soon(run_id))
    return State(id=run_id, state=asked.client.runs.reschedule(run_id, at=when.at, delay=when.delay))


def prioritise_run(asked: Asked[Scoped, NewPriority]) -> Changed:
    """Give a waiting run another priority."""
    run_id = asked.path["run_id"]
    return Changed(id=run_id, changed=asked.client.runs.set_priority(run_id, asked.body.priority))


def _made(handle: Handle[Any]) -> Answered:
    return Answered(value=Made(id=handle.id, outcome=handle.outcome), status=201 if handle.outcome == "created" else 200)


_ONE, _MADE = (UnknownRun,), (201, 200)

ENDPOINTS = (
    reads("/runs", "runs.list", list_runs, query=RunQuery, gives=RunPage),
    acts(
        "POST", "/runs", "runs.create", create_run,
        body=NewRun, gives=Made, kind=Operation.ENQUEUE, statuses=_MADE, refusals=(KeyConflict, QueueFull),
    ),
    reads("/runs/{run_id}", "runs.get", get_run, query=Scoped, gives=RunDetail, refusals=_ONE),
    reads("/runs/{run_id}/events", "runs.events", list_events, query=EventQuery, gives=Ledger, refusals=_ONE, follow=follow_run),
    reads("/runs/{run_id}/attempts", "runs.attempts", list_attempts, query=Scoped, gives=AttemptList, refusals=_ONE),
    reads("/runs/{run_id}/receipts", "runs.receipts", list_receipts, query=Scoped, gives=ReceiptList, refusals=_ONE),
    reads(
        "/runs/{run_id}/receipts/{n}", "runs.receipt", get_receipt,
        query=Scoped, gives=ReceiptDetail, refusals=(UnknownRun, UnknownReceipt),
    ),
    reads("/runs/{run_id}/explanation", "runs.explain", explain_run, query=Scoped, gives=Explanation, refusals=_ONE),
    acts("POST", "/runs/{run_id}/cancel", "runs.cancel", cancel_run, body=Cancel, gives=State, refusals=(UnknownRun, RunTerminal)),
    acts(
        "POST", "/runs/{run_id}/retry", "runs.retry", retry_run,
        body=Retry, gives=Made, statuses=_MADE, refusals=(UnknownRun, NotTerminal, KeyConflict),
    ),
    acts(
        "POST", "/runs/{run_id}/rerun", "runs.rerun", rerun_run,
        body=Rerun, gives=Made, statuses=_MADE, refusals=(UnknownRun, NotTerminal, KeyConflict),
    ),
    acts(
        "POST", "/runs/{run_id}/release", "runs.release", release_run,
        body=Because, gives=State, refusals=(UnknownRun, NotTerminal),
    ),
    acts("POST", "/runs/{run_id}/fail", "runs.fail", fail_run, body=Because, gives=State, refusals=(UnknownRun, NotTerminal)),
    acts(
        "POST", "/runs/{run_id}/reschedule", "runs.reschedule", reschedule_run,
        body=When, gives=State, refusals=(UnknownRun, RunTerminal, NotWaiting),
    ),
    acts(
        "POST", "/runs/{run_id}/priority", "runs.set_priority", prioritise_run,
        body=NewPriority, gives=Changed, refusals=(UnknownRun, RunTerminal, NotWaiting),
    ),
)  # fmt: skip
