"""Making a set of schedules what its files say, all in one transaction. Not here: reading files (``client/schedule_entries.py``),
and what differs (``core/schedule_file.py``)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from mainspring.core.durations import format_instant
from mainspring.core.policy import Policy
from mainspring.core.schedule import Cursor, Spec, kind_of
from mainspring.core.schedule_file import Action, Change, Conflict, Said, changes, conflicts, fields_of, prunes_too_much
from mainspring.errors import InvalidOption, MainspringError
from mainspring.operations import calendars, schedules
from mainspring.operations.planning import look_at
from mainspring.operations.rows import encode_data
from mainspring.operations.schedule_rows import ScheduleRow, read_spec, table_of
from mainspring.operations.schedules import Target
from mainspring.store.database import Transaction

#: So many of the next instants a step shows.
SHOWN = 50
_PAGE = 500


class Wanted(NamedTuple):
    """A schedule as files want it. ``new_id``: its id if it is new."""

    name: str
    renamed_from: str | None
    new_id: str
    spec: Spec
    target: Target
    said: Said


class Step(NamedTuple):
    """What becomes, or would become, of one schedule. ``before``, ``after``: its next instants, RFC 3339. ``problem``: why it
    cannot be as it is written."""

    name: str
    action: Action
    renamed_from: str | None = None
    changes: Sequence[Change] = ()
    conflicts: Sequence[Conflict] = ()
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    is_paused: bool = False
    problem: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.action is Action.UNCHANGED and self.renamed_from is None


class _Standing(NamedTuple):
    """A schedule as it is. ``said``, ``applied``: None where that can no longer be read, or the set never wrote it."""

    row: ScheduleRow
    cursor: Cursor
    said: Said | None
    owner: str | None
    applied: Said | None
    is_newest: bool


class Planned(NamedTuple):
    """What applying comes to. ``owned``: how many schedules the set had before."""

    steps: list[Step]
    owned: int

    @property
    def is_stopped(self) -> bool:
        """Whether something that files say cannot be."""
        return any(step.problem is not None for step in self.steps)


def plan(tx: Transaction, wanted: Sequence[Wanted], *, namespace: str, set_name: str, prune: bool) -> Planned:
    """What applying would come to; nothing is written."""
    return _plan(tx, wanted, _standing(tx, wanted, namespace, set_name, prune=prune, lock=False), namespace, set_name)


def apply(
    tx: Transaction, wanted: Sequence[Wanted], *, namespace: str, set_name: str, actor: str, prune: bool, allow_large: bool,
    force: bool,
) -> Planned:  # fmt: skip
    """Make the set what files say, or write nothing: where a step has a problem, or a conflict and not ``force``.

    Raises:
        InvalidOption: more than half of the set would be deleted, and not ``allow_large``.
    """
    standing = _standing(tx, wanted, namespace, set_name, prune=prune, lock=True)
    made = _plan(tx, wanted, standing, namespace, set_name)
    if made.is_stopped or (not force and any(step.conflicts for step in made.steps)):
        return made
    gone = [step.name for step in made.steps if step.action is Action.DELETE]
    if prunes_too_much(len(gone), made.owned) and not allow_large:
        told = f"{len(gone)} of the {made.owned} schedules of {set_name} would be deleted; if that is meant, say allow_large"
        raise InvalidOption(told, option="allow_large")
    for name in gone:
        schedules.delete(tx, name, namespace=namespace, actor=actor)
    steps = {step.name: step for step in made.steps}
    for each in sorted(wanted):
        _put(tx, each, steps[each.name], standing, namespace=namespace, set_name=set_name, actor=actor)
    return made


def exported(tx: Transaction, *, namespace: str, set_name: str | None) -> Iterator[tuple[str, Said]]:
    """The schedules of a set, or all of a namespace, by name. Those that cannot be read are left out."""
    after = ""
    while page := [ScheduleRow(*row) for row in tx.rows("schedules.page", namespace=namespace, after=after, prefix="", most=_PAGE)]:
        for row in page:
            if (set_name is None or row.set_name == set_name) and row.broken is None:
                yield row.name, _said(tx.one("schedule_files.said", id=row.id))
        after = page[-1].name


# -- what is there -------------------------------------------------------------------------------------------------------------


def _standing(
    tx: Transaction, wanted: Sequence[Wanted], namespace: str, set_name: str, *, prune: bool, lock: bool
) -> dict[str, _Standing]:
    """The schedules that files name, by name, and with ``prune`` all that the set owns; locked in the order of their names."""
    names = {name for each in wanted for name in (each.name, each.renamed_from) if name is not None}
    if prune:
        names |= {name for (name,) in tx.rows("schedule_files.owned", namespace=namespace, set_name=set_name)}
    found: dict[str, _Standing] = {}
    for name in sorted(names):
        if tx.one("schedules.by_name", namespace=namespace, name=name) is None:
            continue
        row, cursor = (schedules.take if lock else schedules.look)(tx, name, namespace=namespace)
        now = tx.one("schedule_files.said", id=row.id)
        assert now is not None
        applied = tx.one("schedule_files.applied", id=row.id) if row.set_name == set_name else None
        found[name] = _Standing(row, cursor, _readable(now), row.set_name, _readable(applied), is_newest=now[1] == now[2])
    return found


def _readable(row: Sequence[Any] | None) -> Said | None:
    with contextlib.suppress(MainspringError):
        return None if row is None else _said(row)
    return None


def _said(row: Sequence[Any] | None) -> Said:
    assert row is not None
    _, _, _, spec, body, queue, task, priority, policy = row
    payload = None if body is None else msgspec.json.decode(body)
    return Said(read_spec(spec), queue, task, priority, Policy.from_data(msgspec.json.decode(policy)), payload)


# -- what becomes of it --------------------------------------------------------------------------------------------------------


def _plan(tx: Transaction, wanted: Sequence[Wanted], standing: dict[str, _Standing], namespace: str, set_name: str) -> Planned:
    steps = [_step(tx, each, standing, namespace, set_name) for each in sorted(wanted)]
    kept = {each.name for each in wanted} | {step.renamed_from for step in steps}
    for name, found in standing.items():
        if found.owner == set_name and name not in kept:
            steps.append(Step(name, Action.DELETE, before=_fires(tx, found.row, found.cursor), is_paused=_is_paused(found)))
    owned = len(tx.rows("schedule_files.owned", namespace=namespace, set_name=set_name))
    return Planned(sorted(steps, key=lambda step: step.name), owned)


def _step(tx: Transaction, wanted: Wanted, standing: dict[str, _Standing], namespace: str, set_name: str) -> Step:
    old = wanted.renamed_from
    found, moved = standing.get(wanted.name), None if old is None else standing.get(old)
    if found is not None and moved is not None:
        return Step(wanted.name, Action.UPDATE, old, problem=f"{old} and {wanted.name} both exist: delete one of them first")
    found = found or moved
    fields = fields_of(wanted.said)
    if found is None:
        made = Step(wanted.name, Action.CREATE, changes=changes({}, fields))
        return _foreseen(tx, made, None, wanted, namespace)
    now = {} if found.said is None else fields_of(found.said)  # what cannot be read is nobody's work
    applied = now if found.said is None else None if found.applied is None else fields_of(found.applied)
    differing = changes(now, fields)
    action = Action.UPDATE if differing else Action.UNCHANGED if found.owner == set_name else Action.ADOPT
    made = Step(
        wanted.name, action, old if moved is not None else None, differing,
        conflicts(fields, now, applied, set_name=set_name, owner=found.owner), is_paused=_is_paused(found),
    )  # fmt: skip
    return made if made.is_done or action is Action.ADOPT else _foreseen(tx, made, found, wanted, namespace)


def _foreseen(tx: Transaction, step: Step, found: _Standing | None, wanted: Wanted, namespace: str) -> Step:
    """A step with the instants before and after it, or with why it cannot be."""
    before = () if found is None else _fires(tx, found.row, found.cursor)
    row = (_blank(wanted.new_id, namespace, tx.now) if found is None else found.row)._replace(
        name=wanted.name, spec=encode_data(wanted.spec.as_data()) or "", kind=kind_of(wanted.spec.rule),
        enabled=int(wanted.spec.enabled), broken=None,
    )  # fmt: skip
    try:
        named = calendars.named(tx, wanted.spec.rule, namespace=namespace, lock=False)
        row = row._replace(calendars=calendars.kept(named, row.calendars))
        table = table_of(row)
        if found is None:
            table.check_due(tx.now)
        table.check_often(tx.now)
    except MainspringError as error:
        return step._replace(before=before, problem=error.message)
    return step._replace(before=before, after=_fires(tx, row, None if found is None else found.cursor))


def _fires(tx: Transaction, row: ScheduleRow, cursor: Cursor | None) -> Sequence[str]:
    if not row.enabled or row.broken is not None:
        return ()
    with contextlib.suppress(MainspringError):
        return tuple(format_instant(each.at) for each in table_of(row, cursor).preview(tx.now, SHOWN))
    return ()


def _is_paused(found: _Standing) -> bool:
    return found.row.paused_at is not None


def _blank(new_id: str, namespace: str, now: int) -> ScheduleRow:
    """The row that a new schedule will have, for its timetable."""
    return ScheduleRow(
        id=new_id, namespace=namespace, name="", revision=1, enabled=1, kind="", set_name=None, paused_at=None, paused_by=None,
        paused_reason=None, broken=None, created_at=now, updated_at=now, deleted_at=None, spec="", lane_id=0, policy_id=0,
        body=None, revised_at=now,
    )  # fmt: skip


def _put(
    tx: Transaction, wanted: Wanted, step: Step, standing: dict[str, _Standing], *, namespace: str, set_name: str, actor: str
) -> None:
    found = standing.get(step.renamed_from or step.name)
    if found is not None and step.renamed_from is not None:
        _rename(tx, found, wanted.name, actor)
    if found is not None and not step.changes:
        schedule_id, revision = found.row.id, found.row.revision
        if found.owner == set_name and found.is_newest:
            return
    else:
        made = schedules.put(tx, wanted.new_id, wanted.name, wanted.spec, wanted.target, namespace=namespace, actor=actor)
        schedule_id, revision = made.id, made.revision
    tx.execute("schedule_files.own", id=schedule_id, set_name=set_name, revision=revision)


def _rename(tx: Transaction, found: _Standing, name: str, actor: str) -> None:
    """What was due under the old name is settled under it: ``H`` and jitter hash names."""
    look_at(tx, [found.cursor])
    tx.execute("schedule_files.rename", id=found.row.id, name=name)
    tx.execute("schedules.log", id=found.row.id, type="renamed", actor=actor, data=encode_data({"from": found.row.name}))
    look_at(tx, [schedules.take(tx, name, namespace=found.row.namespace)[1]])
