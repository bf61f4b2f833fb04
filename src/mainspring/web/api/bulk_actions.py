"""Endpoints of acts on many runs: a preview counts and says what would happen, then the act is a job that can be watched."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainspring.client.bulk import Bulk, Selection
from mainspring.core.access import Operation
from mainspring.errors import InvalidOption, UnknownRun
from mainspring.operations.bulk import Act, Item
from mainspring.web.api.filters import Filter, keywords
from mainspring.web.api.found import Run, run
from mainspring.web.api.shapes import Id, Instant, PageQuery, Priority, Span, Text, at, at_or_none, id_cursor
from mainspring.web.endpoints import Answered, Asked, Body, Nothing, Scoped, acts, reads


class Asking(Body, frozen=True, kw_only=True):
    """What is to be done (``action``) to which runs. ``reason`` is of a cancel, ``priority`` of set_priority, ``at`` or ``delay``
    of reschedule."""

    action: Literal["cancel", "retry", "rerun", "prune", "set_priority", "reschedule"]
    runs: Filter
    reason: Text | None = None
    priority: Priority | None = None
    at: Instant | None = None
    delay: Span | None = None


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """So many runs are in this state, and this would become of them; ``refused`` is the code with which they are left alone."""

    state: str
    runs: int
    does: str
    refused: str | None


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What an act would do. ``is_exact`` False: more than 100,000 match, and it would be about the newest of them."""

    action: str
    total: int
    is_exact: bool
    effects: list[Effect]
    sample: list[Run]


class BulkAction(msgspec.Struct, frozen=True, kw_only=True):
    """An act as it stands: of ``total`` runs ``done`` have their outcome."""

    id: Id
    action: str
    actor: str
    total: int
    done: int
    created_at: Instant
    finished_at: Instant | None


class BulkActionDetail(BulkAction, frozen=True, kw_only=True):
    """An act, and what became of its runs: how many were done, had changed since the preview, or were refused, by code."""

    succeeded: int
    changed: int
    refused: dict[str, int]


class BulkActionPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of acts, newest first."""

    data: list[BulkAction]
    next_cursor: str | None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one run: ``done``, ``changed``, ``refused`` (with a code), nothing yet. ``made`` is the new run."""

    run_id: Id
    outcome: str | None
    code: str | None
    made: Id | None


class OutcomePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of outcomes, in the order of the runs' ids."""

    data: list[Outcome]
    next_cursor: str | None


def preview(asked: Asked[Scoped, Asking]) -> Preview:
    """What an act on many runs would do: how many there are, and what would become of them. Changes nothing."""
    act = _meant(asked)
    effects = [
        Effect(state=state, runs=count, does=effect.does, refused=effect.refused) for state, (count, effect) in act.effects.items()
    ]
    return Preview(
        action=act.action, total=act.count, is_exact=act.is_exact, effects=effects, sample=[run(view) for view in act.sample]
    )


def begin(asked: Asked[Scoped, Asking]) -> Answered:
    """Do it. The runs are written down first, and then done chunk by chunk; the answer does not wait for that."""
    client = asked.client
    act_id = _meant(asked).begin(asked.new_id)
    asked.node.carry_out(client, act_id)
    location = {"Location": f"/api/v1/bulk-actions/{act_id}"}
    return Answered(value=_action(client.runs.bulk.get(act_id)), status=202, headers=location)


def list_actions(asked: Asked[PageQuery, Nothing]) -> BulkActionPage:
    """Acts on many runs, newest first."""
    query = asked.query
    found = asked.client.runs.bulk.list(limit=query.limit, cursor=id_cursor(query.cursor))
    return BulkActionPage(data=[_action(act) for act in found], next_cursor=found[-1].id if len(found) == query.limit else None)


def get_action(asked: Asked[Scoped, Nothing]) -> BulkActionDetail:
    """One act: how far it is, and what became of its runs."""
    bulk, act_id = asked.client.runs.bulk, asked.path["action_id"]
    act, result = bulk.get(act_id), bulk.result(act_id)
    return BulkActionDetail(
        **msgspec.structs.asdict(_action(act)), succeeded=result.done, changed=result.changed, refused=dict(result.refused)
    )


def list_outcomes(asked: Asked[PageQuery, Nothing]) -> OutcomePage:
    """What became of each run of an act."""
    query = asked.query
    page = asked.client.runs.bulk.outcome_page(asked.path["action_id"], limit=query.limit, cursor=id_cursor(query.cursor))
    return OutcomePage(data=[_outcome(item) for item in page.data], next_cursor=page.next_cursor)


def _meant(asked: Asked[Scoped, Asking]) -> Bulk:
    """The act that is meant, previewed."""
    body = asked.body
    _refuse_strange(body)
    found: Selection = asked.client.runs.preview(**keywords(body.runs))
    match body.action:
        case "cancel":
            return found.cancel(body.reason)
        case "retry":
            return found.retry()
        case "rerun":
            return found.rerun()
        case "prune":
            return found.prune()
        case "set_priority":
            assert body.priority is not None
            return found.set_priority(body.priority)
        case "reschedule":
            return found.reschedule(at=body.at, delay=body.delay)


_OPTIONS = {"cancel": {"reason"}, "set_priority": {"priority"}, "reschedule": {"at", "delay"}}


def _refuse_strange(body: Asking) -> None:
    """Refuse options of another action, before many runs are looked at for nothing."""
    given = {name for name in ("reason", "priority", "at", "delay") if getattr(body, name) is not None}
    if strange := sorted(given - _OPTIONS.get(body.action, set())):
        raise InvalidOption(f"{strange[0]} means nothing to {body.action}; leave it out", option=strange[0])
    if body.action == "set_priority" and body.priority is None:
        raise InvalidOption("say which priority", option="priority")


def _action(act: Act) -> BulkAction:
    return BulkAction(
        id=act.id, action=act.action, actor=act.actor, total=act.total, done=act.done, created_at=at(act.created_at),
        finished_at=at_or_none(act.finished_at),
    )  # fmt: skip


def _outcome(item: Item) -> Outcome:
    return Outcome(run_id=item.run_id, outcome=item.outcome, code=item.code, made=item.made)


ENDPOINTS = (
    acts("POST", "/bulk-actions/preview", "bulk_actions.preview", preview, body=Asking, gives=Preview, kind=Operation.READ),
    acts("POST", "/bulk-actions", "bulk_actions.begin", begin, body=Asking, gives=BulkAction, statuses=(202,)),
    reads("/bulk-actions", "bulk_actions.list", list_actions, query=PageQuery, gives=BulkActionPage),
    reads(
        "/bulk-actions/{action_id}", "bulk_actions.get", get_action,
        query=Scoped, gives=BulkActionDetail, refusals=(UnknownRun,),
    ),
    reads(
        "/bulk-actions/{action_id}/outcomes", "bulk_actions.outcomes", list_outcomes,
        query=PageQuery, gives=OutcomePage, refusals=(UnknownRun,),
    ),
)  # fmt: skip
