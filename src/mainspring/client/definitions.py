"""Schedules as documents: the forms in which HTTP, files and commands write them, read and written back, replaced and merged.

A document says everything by name: ``rule``, ``target``, its policies. Here: documents to rows and back, and edits that lose no
other edit. Not here: the fields beside the target (``client/specs.py``), and what an edit does to what is due
(``operations/schedules.py``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import msgspec

from mainspring import codec
from mainspring.client.requests import Request
from mainspring.client.specs import SPEC_FIELDS, Reading, read_policy, read_spec
from mainspring.client.targeting import default_policy, judged
from mainspring.client.writing import write_again
from mainspring.core import retry
from mainspring.core.alerts import SPANS, Alerts, Kind
from mainspring.core.durations import format_duration, format_instant
from mainspring.core.lanes import Lane
from mainspring.core.launch import TARGETS
from mainspring.core.names import check_name
from mainspring.core.policy import Policy
from mainspring.core.rules import as_data
from mainspring.core.schedule import Spec
from mainspring.core.timetable import Fire
from mainspring.errors import ChangedMeanwhile, InvalidOption, MainspringError, TargetRefused, UnknownSchedule
from mainspring.operations import schedules
from mainspring.operations.creation import policy_row
from mainspring.operations.schedule_rows import table_of
from mainspring.operations.schedules import Definition, ScheduleView, Target
from mainspring.store.database import Transaction

if TYPE_CHECKING:
    from mainspring.client.client import Client

T = TypeVar("T")
#: Refuses a kind of target that whoever asks may not write.
Allow: TypeAlias = Callable[[str], None]

PREVIEWED = 50
_MOST_TRIES = 5
FIELDS = ("name", "rule", "target", "queue", "priority", "timeout", "retry", *SPEC_FIELDS)


class Draft(NamedTuple):
    """A document, read: what is written down of it."""

    spec: Spec
    target: Target


class Written(NamedTuple):
    """A schedule as it is now and the document that says the same. ``fires`` come next, where nothing was written."""

    view: ScheduleView
    document: Mapping[str, Any] | None
    is_new: bool = False
    fires: tuple[Fire, ...] | None = None

    @property
    def version(self) -> str:
        """Names this revision of this schedule, and no other."""
        return version_of(self.view)


class Definitions:
    """Schedules as documents. ``allow`` is asked of each kind of target that is to be written. ``look=True`` on a write: everything
    is checked as if it were written, and nothing is."""

    def __init__(self, client: Client, allow: Allow | None = None) -> None:
        self._client = client
        self._allow = allow

    def get(self, name: str) -> Written:
        """A schedule and its document.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        found = self._found(name)
        return Written(found.view, document_of(found))

    def create(self, document: Mapping[str, Any], *, new_id: str | None = None, look: bool = False) -> Written:
        """Make a new schedule. A repeat (the same ``new_id``) changes nothing.

        Raises:
            NameTaken: there is one of that name. ScheduleInvalid: everything that is wrong. NeverDue: it is due at no instant.
            TargetRefused: naming the rule.
        """
        draft, made = drafted(self._client, document, allow=self._allow), new_id or self._client.system.new_id()
        client, name = self._client, str(document["name"])
        return self._write(
            "schedules.create",
            lambda tx: schedules.create(tx, made, name, *draft, namespace=client.namespace, actor=client.actor),
            look=look,
            is_new=True,
        )

    def replace(
        self, name: str, document: Mapping[str, Any], *, version: str | None = None, new_id: str | None = None, look: bool = False
    ) -> Written:
        """Make a schedule say what the document says, and nothing else: a new one where there is none. Another ``name`` in the
        document is its new one.

        Raises:
            As ``create``; ChangedMeanwhile: it is not at ``version``. UnknownSchedule: there is none to be renamed.
        """
        document = {"name": name} | dict(document)
        try:
            return self._edit(name, lambda _: (document, None), version, look=look)
        except UnknownSchedule:
            if document["name"] != name:
                raise
            if version is not None:
                raise ChangedMeanwhile(f"there is no schedule {name!r} any more: read again what there is") from None
        return self.create(document, new_id=new_id, look=look)

    def merge(self, name: str, changes: Mapping[str, Any], *, version: str | None = None, look: bool = False) -> Written:
        """Change what is named and leave the rest, at any depth; null takes a field back to its default. Rule and target are
        replaced whole.

        Raises:
            As ``create``; UnknownSchedule: there is none of that name. ChangedMeanwhile: it is not at ``version``.
        """

        def merged(found: Definition) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
            document = document_of(found)
            if document is None:
                raise InvalidOption("what this schedule says cannot be read any more: replace it as a whole", option="rule")
            return _merged(document, changes), changes

        return self._edit(name, merged, version, look=look)

    def _edit(
        self,
        name: str,
        said: Callable[[Definition], tuple[Mapping[str, Any], Mapping[str, Any] | None]],
        version: str | None,
        *,
        look: bool,
    ) -> Written:
        """Read, change, and write if it is as it was read; where the caller saw no version, again."""
        client = self._client
        for tried in range(_MOST_TRIES):
            found = self._found(name)
            if version is not None and version != version_of(found.view):
                raise ChangedMeanwhile(f"schedule {name!r} is at revision {found.view.revision} now: read it again")
            document, changes = said(found)
            draft = drafted(client, document, kept=found, changes=changes, allow=self._allow)
            try:
                return self._write("schedules.edit", self._edited(found, document["name"], draft), look=look)
            except ChangedMeanwhile:
                if version is not None or tried == _MOST_TRIES - 1:
                    raise
        raise AssertionError("the last try returns or raises")

    def _edited(self, found: Definition, name: str, draft: Draft) -> Callable[[Transaction], ScheduleView]:
        namespace, actor = self._client.namespace, self._client.actor
        return lambda tx: schedules.edit(tx, found.view, name, draft.spec, draft.target, namespace=namespace, actor=actor)

    def _found(self, name: str) -> Definition:
        found: Definition = self._client.database.read(
            "schedules.definition", lambda tx: schedules.definition(tx, name, namespace=self._client.namespace)
        )
        return found

    def _write(self, name: str, act: Callable[[Transaction], ScheduleView], *, look: bool, is_new: bool = False) -> Written:
        namespace, fires = self._client.namespace, None

        def told(tx: Transaction) -> tuple[Definition, tuple[Fire, ...]]:
            view = act(tx)
            row = schedules.find(tx, view.name, namespace=namespace)
            coming = table_of(row, schedules.cursor_of(tx, row)).preview(tx.now, PREVIEWED) if look else ()
            return schedules.definition(tx, view.name, namespace=namespace), tuple(coming)

        if look:
            made, fires = _undone(self._client, name, told)
        else:
            made, _ = write_again(self._client.database, name, told)
            self._client.tell_work([])
        return Written(made.view, document_of(made), is_new, fires)


class _Undone(Exception):  # noqa: N818  (no mistake: how a dry run ends)
    """Ends a transaction so that nothing of it stays, and carries what it came to."""

    def __init__(self, made: Any) -> None:
        super().__init__("undone on purpose")
        self.made = made


def _undone(client: Client, name: str, act: Callable[[Transaction], T]) -> T:
    """What a write would come to. Nothing is written."""

    def acting(tx: Transaction) -> None:
        raise _Undone(act(tx))

    try:
        client.database.write(name, acting)
    except _Undone as undone:
        made: T = undone.made
        return made
    raise AssertionError("it raises whatever happens")


def version_of(view: ScheduleView) -> str:
    """Names a revision of a schedule, and no other; a pause is no revision."""
    return hashlib.sha256(f"{view.id}:{view.revision}".encode()).hexdigest()[:32]


def _merged(document: Any, changes: Any) -> Any:
    """A document with changes in it: objects by their fields, null takes a field out."""
    if not isinstance(changes, Mapping) or not isinstance(document, Mapping):
        return changes
    made = dict(document)
    for name, value in changes.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = value if name in {"rule", "target"} else _merged(made.get(name, {}), value)
    return made


# -- from documents ----------------------------------------------------------------------------------------------------


def drafted(
    client: Client,
    document: Mapping[str, Any],
    *,
    kept: Definition | None = None,
    changes: Mapping[str, Any] | None = None,
    allow: Allow | None = None,
    as_document: bool = True,
) -> Draft:
    """What a document says. ``changes`` to what is ``kept`` leave the payload and policy of its runs, but for what they name.

    Raises:
        ScheduleInvalid: everything that is wrong. TargetRefused: the rule by which this process refuses the target.
    """
    reading = Reading()
    said = reading.fields("", document, (*FIELDS, "max_attempts"))
    reading.tried("name", said.get("name"), lambda: check_name(said.get("name"), "name"), None)
    target: Target | None = None
    refused: TargetRefused | None = None
    try:
        if kept is not None and changes is not None and "target" not in changes:
            target = _kept(reading, kept, said, changes, allow)
        else:
            target = _target(client, reading, said, allow)
    except TargetRefused as refusal:
        refused = refusal
    given = {name: said[name] for name in SPEC_FIELDS if name in said}
    spec = read_spec(reading, said.get("rule"), "" if target is None else target.lane.task, **given)
    reading.check(as_document=as_document)
    if refused is not None:
        raise refused
    assert spec is not None
    assert target is not None
    return Draft(spec, target)


def wrong_in(document: Mapping[str, Any], *, partly: bool = False) -> list[dict[str, str]]:
    """What is wrong with a document as far as it can be seen without its target. ``partly``: it says only what changes."""
    reading = Reading()
    said = {name: value for name, value in document.items() if name in FIELDS and value is not None}
    read_policy(reading, said, Policy())
    given = {name: said[name] for name in SPEC_FIELDS if name in said}
    read_spec(reading, said.get("rule"), "", **given)
    return [each for each in reading.errors if not partly or each["path"] != "rule" or "rule" in said]


def _target(client: Client, reading: Reading, said: Mapping[str, Any], allow: Allow | None) -> Target | None:
    """What is run. None where that cannot be read."""
    written = said.get("target")
    if isinstance(written, Request):
        if said.keys() & {"timeout", "max_attempts", "retry"}:
            told = "timeout= and max_attempts= are options of the task here; say them there"
            reading.wrong("timeout", said.get("timeout"), told)
        return Target(written.lane, written.policy, written.body)
    kind, inner, payload = _parts(reading, written)
    queue = reading.tried("queue", said.get("queue"), lambda: check_name(said.get("queue", "default"), "queue"), "default")
    priority = reading.whole(said, "priority", -1000, 1000, 0)
    policy = read_policy(reading, said, Policy() if kind is None else default_policy(kind))
    if kind is None:
        return None
    if kind in TARGETS:
        if allow is not None:
            allow(kind)
        own = reading.tried(f"target.{kind}", inner, lambda: judged(client, {kind: inner}, payload), None)
        if own is None:
            return None
        lane = Lane(namespace=client.namespace, queue=queue, task=own.kind, priority=priority)
        return Target(lane, policy_row(replace(policy, grace_us=own.policy.grace_us)), own.body)
    task = reading.tried("target.task", inner, lambda: check_name(inner, "task"), "")
    if payload is not None and not isinstance(payload, Mapping):
        reading.wrong("target.payload", payload, "the payload of a task is an object: its arguments by name")
    body = reading.tried(
        "target.payload", payload, lambda: codec.encode_json(payload or {}, what="payload", largest=codec.LARGEST), b"{}"
    )
    return Target(Lane(namespace=client.namespace, queue=queue, task=task, priority=priority), policy_row(policy), body)


def _parts(reading: Reading, written: object) -> tuple[str | None, Any, Any]:
    """The kind of a target, what is said of it, and the payload."""
    if isinstance(written, str):
        return "task", written, None
    kinds = [kind for kind in ("task", *TARGETS) if isinstance(written, Mapping) and kind in written]
    if not isinstance(written, Mapping) or len(kinds) != 1:
        told = 'a target is a task by name, http(…) or shell([…]): write {"task": "billing.nightly", "payload": {}}'
        reading.wrong("target", written, told)
        return None, None, None
    for name in written:
        if name not in {*kinds, "payload"}:
            reading.wrong(f"target.{name}", written[name], f"a target of {kinds[0]} has no {name!r}; there are {kinds[0]}, payload")
    return kinds[0], written[kinds[0]], written.get("payload")


def _kept(reading: Reading, kept: Definition, said: Mapping[str, Any], changes: Mapping[str, Any], allow: Allow | None) -> Target:
    """The target as it was, but for what changes around it."""
    lane, policy = kept.lane, kept.policy
    if allow is not None and lane.task in TARGETS:
        allow(lane.task)
    if changes.keys() & {"queue", "priority"}:
        queue = reading.tried("queue", said.get("queue"), lambda: check_name(said.get("queue", "default"), "queue"), "default")
        lane = replace(lane, queue=queue, priority=reading.whole(said, "priority", -1000, 1000, 0))
    default = default_policy(lane.task)
    if "timeout" in changes and changes["timeout"] is None:
        policy = replace(policy, timeout_us=default.timeout_us)
    if "retry" in changes and changes["retry"] is None:
        policy = replace(policy, budgets=default.budgets, backoff=default.backoff)
    asked = {name: said[name] for name in ("timeout", "retry", "max_attempts") if name in changes and name in said}
    if isinstance(changes.get("retry"), Mapping) and not changes["retry"].keys() & {"backoff", "initial", "max"}:
        asked["retry"] = changes["retry"]
    policy = read_policy(reading, asked, policy)
    return Target(lane, policy_row(policy), kept.body or b"{}")


# -- back to documents -------------------------------------------------------------------------------------------------


def document_of(found: Definition) -> dict[str, Any] | None:
    """What a schedule says, every field named; None where that can no longer be read."""
    return written(found.view.name, found.view.spec, found.lane, found.policy, found.body)


def written(name: str, spec: Spec | None, lane: Lane, policy: Policy, body: bytes | None) -> dict[str, Any] | None:
    """The same of its parts."""
    if spec is None:
        return None
    return {
        "name": name,
        "rule": as_data(spec.rule),
        "target": _target_data(lane.task, body),
        "enabled": spec.enabled,
        "start_at": None if spec.start_at is None else format_instant(spec.start_at),
        "end_at": None if spec.end_at is None else format_instant(spec.end_at),
        "max_runs": spec.max_runs,
        "queue": lane.queue,
        "priority": lane.priority,
        "attributes": dict(spec.attributes),
        **_policies(spec),
        "start_within": _span(spec.start_within_us),
        "deadline": _span(spec.deadline_us),
        "timeout": _span(policy.timeout_us),
        "retry": _retry(policy),
        "pause_after_failures": spec.pause_after_failures,
        "alerts": _alerts(spec.alerts),
    }


def _policies(spec: Spec) -> dict[str, Any]:
    misfire, overlap, jitter = spec.misfire, spec.overlap, spec.jitter
    return {
        "misfire": {
            "policy": str(misfire.policy),
            "grace": _span(misfire.grace_us),
            "window": _span(misfire.window_us),
            "max": misfire.most,
            "order": str(misfire.order),
            "spacing": _span(misfire.spacing_us),
        },
        "overlap": {
            "policy": str(overlap.policy),
            "max_concurrency": overlap.max_concurrency,
            "buffer_max": overlap.buffer_max,
            "replace_grace": _span(overlap.grace_us),
            "retries_hold_slot": overlap.retries_hold_slot,
        },
        "jitter": None if jitter is None else {"max": _span(jitter.max_us), "mode": str(jitter.mode)},
    }


def _alerts(alerts: Alerts | None) -> dict[str, Any] | None:
    """Without spans of kinds that are left out: those cannot be read back."""
    if alerts is None:
        return None
    spans = {
        Kind.LATE: alerts.late_after_us,
        Kind.MISSED: alerts.succeed_within_us,
        Kind.NO_SUCCESS_FOR: alerts.no_success_for_us,
    }
    told = {SPANS[kind]: _span(span) for kind, span in spans.items() if kind in alerts.kinds}
    return told | {"kinds": sorted(alerts.kinds)}


def _retry(policy: Policy) -> dict[str, Any]:
    """How often and how far apart. A back-off that only code can say is left out."""
    told: dict[str, Any] = {"max_attempts": policy.budgets.max_attempts}
    match policy.backoff:
        case retry.Exponential(initial_us=initial, factor=2.0, max_us=most):
            return told | {"backoff": "exponential", "initial": _span(initial), "max": _span(most)}
        case retry.Fixed(delay_us=0):
            return told | {"backoff": "none"}
        case retry.Fixed(delay_us=delay):
            return told | {"backoff": "fixed", "initial": _span(delay)}
        case retry.Steps(delays_us=delays):
            return told | {"backoff": [_span(each) for each in delays]}
    return told


def _target_data(kind: str, text: bytes | None) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(text or b"{}")
    except (msgspec.DecodeError, MainspringError):  # sealed, or elsewhere: it is the runs' affair
        return {"task": kind}
    if kind in TARGETS and isinstance(body, dict) and "target" in body:
        payload = {} if body.get("payload") is None else {"payload": body["payload"]}
        return {kind: body["target"], **payload}
    return {"task": kind, "payload": body}


def _span(us: int | None) -> str | None:
    return None if us is None else format_duration(us)
