"""What a schedule says as a file writes it, field by field; what tells two apart; and what applying a file comes to.

Here: pure comparisons. Not here: reading YAML (``codec/strict_yaml.py``) or an entry of it (``client/schedule_entries.py``), and
rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from mainspring.core import retry
from mainspring.core.attributes import decoded
from mainspring.core.budgets import Budgets
from mainspring.core.durations import format_duration, format_instant
from mainspring.core.launch import TARGETS
from mainspring.core.policy import Policy
from mainspring.core.schedule import Spec

Fields = Mapping[str, Any]

_NAMES = {"most": "max"}
_PAYLOAD = "target.payload"
#: Fields of a file that are a policy's, and what the policy calls them.
SPANS: Mapping[str, str] = {
    "timeout": "timeout_us",
    "grace": "grace_us",
    "heartbeat_timeout": "heartbeat_timeout_us",
    "keep.run": "run_ttl_us",
    "keep.result": "result_ttl_us",
    "keep.receipts": "receipt_ttl_us",
}
#: What each back-off has beside its kind.
BACKOFFS: Mapping[str, tuple[str, ...]] = {
    "exponential": ("initial", "factor", "max"),
    "fixed": ("delay",),
    "linear": ("step", "max"),
    "steps": ("delays",),
    "called": ("initial", "factor", "max"),
}


class Said(NamedTuple):
    """All that a revision says. ``body``: the payload of its runs; of a target, its order with the payload in it."""

    spec: Spec
    queue: str
    task: str
    priority: int
    policy: Policy
    body: Any


class Change(NamedTuple):
    """One field, before and after; None is a field that is not there."""

    field: str
    before: Any
    after: Any


class Conflict(NamedTuple):
    """What keeps a file from being applied until somebody insists."""

    field: str
    told: str


class Action(StrEnum):
    """What becomes of a schedule."""

    CREATE = "create"
    UPDATE = "update"
    ADOPT = "adopt"
    UNCHANGED = "unchanged"
    DELETE = "delete"


# -- a schedule, field by field ----------------------------------------------------------------------------------------


def fields_of(said: Said) -> dict[str, Any]:
    """Everything a schedule says, under the names a file has for it, each as a file writes it."""
    data = said.spec.as_data()
    own = said.task in TARGETS and isinstance(said.body, Mapping)
    target = {said.task: said.body["target"]} if own else {"task": said.task}
    payload = said.body["payload"] if own else said.body
    made: dict[str, Any] = {"rule": data.pop("rule"), "target": target, _PAYLOAD: payload or None}
    data.pop("target")
    made |= {"queue": said.queue, "priority": said.priority, "attributes": _decoded(data.pop("attributes"))}
    for name in ("start_at", "end_at"):
        at = data.pop(name)
        made[name] = None if at is None else format_instant(at)
    return made | dict(_flat("", data)) | dict(_policy_fields(said.policy))


def _decoded(attributes: Sequence[tuple[str, str]]) -> dict[str, Any] | None:
    return {name: decoded(value) for name, value in attributes} or None


def _flat(path: str, data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        plain = _NAMES.get(name, name.removesuffix("_us"))
        if isinstance(value, Mapping):
            yield from _flat(f"{path}{plain}.", value)
        else:
            is_span = name.endswith("_us") and value is not None
            yield f"{path}{plain}", format_duration(value) if is_span else str(value) if isinstance(value, StrEnum) else value


def _policy_fields(policy: Policy) -> Iterator[tuple[str, Any]]:
    yield "retry.max_attempts", policy.budgets.max_attempts
    yield "retry.max_interruptions", policy.budgets.max_interruptions
    yield "retry.max_releases", policy.budgets.max_releases
    yield "retry.jitter", policy.jitter
    yield "retry.on", list(policy.kinds.on) or None
    yield "retry.never", list(policy.kinds.never) or None
    kind, *numbers = retry.as_data(policy.backoff)
    yield "retry.backoff", kind
    if kind == "steps":
        yield "retry.delays", [format_duration(int(each)) for each in numbers]
    else:
        for name, number in zip(BACKOFFS[str(kind)], numbers, strict=True):
            yield f"retry.{name}", number if name == "factor" else format_duration(int(number))
    for name, option in SPANS.items():
        span = getattr(policy, option)
        yield name, None if span is None else format_duration(span)


def entry_of(name: str, said: Said, base: Policy) -> dict[str, Any]:
    """A schedule as an entry of a file, without what it would say anyway. ``base``: the policy of its kind of target."""
    made = fields_of(said)
    plain = fields_of(Said(Spec(rule=said.spec.rule), "default", said.task, 0, base, said.body))
    entry: dict[str, Any] = {"name": name, "rule": made["rule"], "target": dict(made["target"])}
    if made[_PAYLOAD] is not None:
        entry["target"]["payload"] = made[_PAYLOAD]
    for field, value in made.items():
        if field in ("rule", "target", _PAYLOAD) or (field in plain and plain[field] == value):
            continue
        *around, last = field.split(".")
        within = entry
        for part in around:
            within = within.setdefault(part, {})
        within[last] = value
    return entry


def policy_from(base: Policy, given: Mapping[str, Any], spans: Mapping[str, int | None], backoff: retry.Backoff | None) -> Policy:
    """A policy with what a file says in its place. ``given``: of ``retry``, the numbers and the names of errors."""
    budgets = Budgets(
        **{name: given.get(name, getattr(base.budgets, name)) for name in ("max_attempts", "max_interruptions", "max_releases")}
    )
    kinds = retry.Kinds(on=tuple(given.get("on") or base.kinds.on), never=tuple(given.get("never") or base.kinds.never))
    said: dict[str, Any] = {SPANS[name]: span for name, span in spans.items()}
    data = Policy(
        budgets=budgets, backoff=backoff or base.backoff, jitter=retry.check_jitter(given.get("jitter", base.jitter)), kinds=kinds
    ).as_data()
    kept = {option: getattr(base, option) for option in SPANS.values()}
    return Policy.from_data(data | kept | said)


# -- two of them -------------------------------------------------------------------------------------------------------


def changes(before: Fields, after: Fields) -> list[Change]:
    """The fields in which two differ."""
    names = [*after, *(name for name in before if name not in after)]
    return [Change(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


def conflicts(wanted: Fields, now: Fields, applied: Fields | None, *, set_name: str, owner: str | None) -> list[Conflict]:
    """What must not be overwritten unasked: what differs from what the set wrote last and from what it wants, and the schedules of
    others. ``applied``: None where the set never wrote it."""
    differing = [each.field for each in changes(now, wanted)]
    if owner is not None and owner != set_name:
        return [Conflict("set", f"the set {owner!r} owns it")]
    if applied is None:
        return [Conflict(field, "nobody's files own it, and it says something else") for field in differing]
    by_hand = {each.field for each in changes(applied, now)}
    return [Conflict(field, "was changed by hand since the set was applied") for field in differing if field in by_hand]


def prunes_too_much(deleted: int, owned: int) -> bool:
    """Whether so much of a set would go that somebody has to say so: more than half."""
    return deleted * 2 > owned
