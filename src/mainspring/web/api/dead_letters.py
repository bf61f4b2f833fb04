"""Endpoints of dead letters: runs that used up a budget, until somebody replays or dismisses them."""

from __future__ import annotations

import msgspec

from mainspring.errors import DeadLetterClosed, KeyConflict, UnknownRun
from mainspring.operations import dead_letters
from mainspring.web.api.runs import Because, Changed, Made
from mainspring.web.api.shapes import Id, Instant, Name, PageQuery, Text, at, at_or_none, id_cursor
from mainspring.web.endpoints import Answered, Asked, Nothing, Scoped, acts, reads


class LetterQuery(PageQuery, frozen=True, kw_only=True):
    """Query parameters of the list; ``closed=true``: those that are closed, too."""

    task: Name | None = None
    code: Text | None = None
    closed: bool = False


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A run that used up a budget. ``closed_how``: ``replayed`` (as ``replayed_as``) or ``dismissed``."""

    run_id: Id
    task: str
    code: str
    opened_at: Instant
    closed_at: Instant | None
    closed_by: str | None
    closed_how: str | None
    close_reason: str | None
    replayed_as: Id | None


class LetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of dead letters, newest run first."""

    data: list[DeadLetter]
    next_cursor: str | None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The open dead letters of one task and code."""

    task: str
    code: str
    count: int
    oldest_at: Instant
    newest_at: Instant


class GroupList(msgspec.Struct, frozen=True, kw_only=True):
    """Groups, the largest first."""

    data: list[Group]


def list_letters(asked: Asked[LetterQuery, Nothing]) -> LetterPage:
    """The open dead letters, newest run first."""
    query = asked.query
    page = asked.client.dead_letters.list(
        task=query.task, code=query.code, closed=query.closed, limit=query.limit, cursor=id_cursor(query.cursor)
    )
    return LetterPage(data=[_letter(each) for each in page.data], next_cursor=page.next_cursor)


def list_groups(asked: Asked[Scoped, Nothing]) -> GroupList:
    """The open dead letters by task and code: what needs a person first."""
    groups = asked.client.dead_letters.groups()
    return GroupList(
        data=[
            Group(task=each.task, code=each.code, count=each.count, oldest_at=at(each.oldest_at), newest_at=at(each.newest_at))
            for each in groups
        ]
    )


def get_letter(asked: Asked[Scoped, Nothing]) -> DeadLetter:
    """The dead letter of one run."""
    return _letter(asked.client.dead_letters.get(asked.path["run_id"]))


def replay(asked: Asked[Scoped, Nothing]) -> Answered:
    """Try the run again, as a new run. Whoever asks second is given the same one (200)."""
    handle = asked.client.dead_letters.replay(asked.path["run_id"])
    return Answered(value=Made(id=handle.id, outcome=handle.outcome), status=201 if handle.outcome == "created" else 200)


def dismiss(asked: Asked[Scoped, Because]) -> Changed:
    """Say that nobody will try the run again, and why."""
    run_id = asked.path["run_id"]
    return Changed(id=run_id, changed=asked.client.dead_letters.dismiss(run_id, asked.body.reason))


def _letter(each: dead_letters.DeadLetter) -> DeadLetter:
    return DeadLetter(
        run_id=each.run_id, task=each.task, code=each.code, opened_at=at(each.opened_at), closed_at=at_or_none(each.closed_at),
        closed_by=each.closed_by, closed_how=each.closed_how, close_reason=each.close_reason, replayed_as=each.replayed_as,
    )  # fmt: skip


_CLOSED = (UnknownRun, DeadLetterClosed)

ENDPOINTS = (
    reads("/dead-letters", "dead_letters.list", list_letters, query=LetterQuery, gives=LetterPage),
    reads("/dead-letters/groups", "dead_letters.groups", list_groups, query=Scoped, gives=GroupList),
    reads("/dead-letters/{run_id}", "dead_letters.get", get_letter, query=Scoped, gives=DeadLetter, refusals=(UnknownRun,)),
    acts(
        "POST", "/dead-letters/{run_id}/replay", "dead_letters.replay", replay,
        body=Nothing, gives=Made, statuses=(201, 200), refusals=(*_CLOSED, KeyConflict),
    ),
    acts("POST", "/dead-letters/{run_id}/dismiss", "dead_letters.dismiss", dismiss, body=Because, gives=Changed, refusals=_CLOSED),
)  # fmt: skip
