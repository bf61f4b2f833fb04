"""Entries of schedule files, read: from what a person wrote to a spec and a target, with everything that is wrong told at once.

Here: the fields of an entry, and which of them go where. Not here: what they mean (``spec_of`` reads the options), what differs
(``core/schedule_file.py``) and writing anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mainspring import codec
from mainspring.client.specs import SPEC_FIELDS, spec_of
from mainspring.client.targeting import judged
from mainspring.codec.strict_yaml import Document, Place, problem, read_yaml, refusal
from mainspring.core import retry
from mainspring.core.durations import parse_duration
from mainspring.core.lanes import Lane
from mainspring.core.launch import TARGETS
from mainspring.core.names import check_name, check_priority
from mainspring.core.policy import Policy
from mainspring.core.rule_building import every
from mainspring.core.rule_reading import read_rule
from mainspring.core.schedule_file import BACKOFFS, SPANS, Said, policy_from
from mainspring.errors import CallerMistake, InvalidOption, RuleInvalid, TargetInvalid, shown
from mainspring.operations.creation import policy_row
from mainspring.operations.schedule_files import Wanted
from mainspring.operations.schedules import Target
from mainspring.zones import zone

if TYPE_CHECKING:
    from mainspring.client.client import Client

MOST_ENTRIES = 2_000

_TOP = tuple(name for name in SPANS if "." not in name)
_OWN = ("name", "renamed_from", "rule", "target", "queue", "priority", "retry", "keep", *_TOP)
_OPTIONS = tuple(name for name in SPEC_FIELDS if name != "target")
_SHAPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "enabled": ((bool,), "true or false"),
    "misfire": ((str, dict), "a policy, or a mapping with policy, grace, window, max, order and spacing"),
    "overlap": ((str, dict), "a policy, or a mapping with policy, max_concurrency and buffer_max"),
    "attributes": ((dict,), "a mapping from names to values"),
    "retry": ((dict,), "a mapping, such as {max_attempts: 5, backoff: exponential, initial: 30s, max: 15m}"),
    "keep": ((dict,), "a mapping with run, result and receipts"),
}
_RETRY = ("max_attempts", "max_interruptions", "max_releases", "jitter", "on", "never")
_NEEDED: Mapping[str, tuple[str, ...]] = {"fixed": ("delay",), "linear": ("step", "max"), "steps": ("delays",)}
_BUILT: Mapping[str, Callable[..., retry.Backoff]] = {
    "exponential": retry.exponential,
    "fixed": retry.fixed,
    "linear": retry.linear,
    "called": lambda **given: retry.Called(otherwise=retry.exponential(**given)),
}


class Entries(NamedTuple):
    """The schedules that files name. ``places``: in which file each is, and where."""

    wanted: list[Wanted]
    places: Mapping[str, tuple[str, Place]]

    def told(self, name: str, message: str) -> dict[str, Any]:
        """Something that is wrong with one of them."""
        file, place = self.places[name]
        return problem(file, place, name, message)


def read_entries(client: Client, texts: Mapping[str, str]) -> Entries:
    """The schedules that files name. ``texts``: what each file says, by its name.

    Raises:
        FileInvalid: with everything that is wrong, each with its file, line and column.
    """
    found: list[dict[str, Any]] = []
    wanted: dict[str, Wanted] = {}
    places: dict[str, tuple[str, Place]] = {}
    for name, text in texts.items():
        document = read_yaml(text, name=name)
        for place, data in enumerate(_listed(document, name)):
            entry = _Entry(client, document, name, f"schedules[{place}]")
            made = entry.read(data)
            if made is not None and made.name in wanted:
                entry.wrong("name", f"{shown(made.name)} is there twice: each name once, in all files of a set")
            elif made is not None:
                wanted[made.name] = made
                places[made.name] = name, document.place(f"schedules[{place}]")
            found += entry.problems
    made_of = Entries(list(wanted.values()), places)
    found += [made_of.told(each.name, told) for each in made_of.wanted if (told := _misnamed(each, made_of.wanted))]
    if len(wanted) > MOST_ENTRIES:
        raise InvalidOption(f"a set has at most {MOST_ENTRIES:,} schedules, not {len(wanted):,}", option="texts")
    if found:
        raise refusal(found)
    return made_of


def _misnamed(wanted: Wanted, all_wanted: Sequence[Wanted]) -> str | None:
    old = wanted.renamed_from
    if old is None or not any(each.name == old or (each is not wanted and each.renamed_from == old) for each in all_wanted):
        return None
    return f"renamed_from: {old} is named elsewhere in these files"


def _listed(document: Document, name: str) -> Sequence[Any]:
    data = document.data
    if not isinstance(data, dict):
        raise refusal([problem(name, document.place(""), "", "a file is a mapping with version: 1 and schedules: [...]")])
    found = [
        problem(name, document.place(key), key, f"there is no {key} in a file: write version and schedules")
        for key in data
        if key not in ("version", "schedules")
    ]
    if data.get("version") != 1 or isinstance(data.get("version"), bool):
        found.append(problem(name, document.place("version"), "version", "a file says version: 1"))
    listed = data.get("schedules")
    if not isinstance(listed, list):
        found.append(problem(name, document.place("schedules"), "schedules", "schedules is a list of entries, each with a name"))
    if found:
        raise refusal(found)
    return listed or ()


class _Entry:
    """One entry; what is wrong is collected in ``problems``."""

    def __init__(self, client: Client, document: Document, name: str, path: str) -> None:
        self._client, self._document, self._file, self._path = client, document, name, path
        self.problems: list[dict[str, Any]] = []

    def wrong(self, field: str, message: str) -> None:
        """Note what is wrong with a field."""
        path = f"{self._path}.{field}" if field else self._path
        self.problems.append(problem(self._file, self._document.place(path), path, message))

    def read(self, data: Any) -> Wanted | None:
        """The schedule, or None and problems noted."""
        if not isinstance(data, dict):
            self.wrong("", "an entry is a mapping with name, rule and target")
            return None
        for field in data:
            if field not in _OWN and field not in _OPTIONS:
                self.wrong(field, f"there is no {field} in a schedule: write {', '.join(sorted({*_OWN, *_OPTIONS}))}")
        for field in ("name", "rule", "target"):
            if field not in data:
                self.wrong("", f"the {field} is missing")
        for field, (kinds, told) in _SHAPES.items():
            if field in data and not isinstance(data[field], kinds):
                self.wrong(field, f"{field} is {told}, not {shown(data[field])}")
        return None if self.problems else self._parts(data)

    def _parts(self, data: Mapping[str, Any]) -> Wanted | None:
        name = self._try("name", lambda: check_name(data["name"], "schedule"))
        old = data.get("renamed_from")
        if old is not None and self._try("renamed_from", lambda: check_name(old, "schedule")) == name:
            self.wrong("renamed_from", "renamed_from is the old name, and name the new one")
        rule = self._try("rule", lambda: read_rule(data["rule"], is_zone=lambda each: zone(each) is not None))
        options = {field: data[field] for field in _OPTIONS if field in data}
        for field in options:
            self._try(field, partial(spec_of, every("1h"), target="task", **{field: options[field]}))
        target = self._target(data)
        if self.problems or target is None or rule is None or name is None:
            return None
        made, said_body = target
        spec = self._try("end_at", lambda: spec_of(rule, target=made.lane.task, **options))
        if spec is None:
            return None
        said = Said(spec, made.lane.queue, made.lane.task, made.lane.priority, said_body[0], said_body[1])
        return Wanted(name, old, self._client.system.new_id(), spec, made, said)

    def _target(self, data: Mapping[str, Any]) -> tuple[Target, tuple[Policy, Any]] | None:
        queue = self._try("queue", lambda: check_name(data.get("queue", "default"), "queue"))
        given = data["target"]
        kinds = ("task", *TARGETS)
        if not isinstance(given, dict) or len([kind for kind in kinds if kind in given]) != 1 or set(given) - {*kinds, "payload"}:
            self.wrong("target", "a target is {task: NAME}, {http: {...}} or {shell: {...}}, and may have a payload")
            return None
        payload = given.get("payload")
        if payload is not None and not isinstance(payload, dict):
            self.wrong("target.payload", "a payload is a mapping from parameters to values")
            return None
        if "task" in given:
            task = self._try("target.task", lambda: check_name(given["task"], "task"))
            body = self._try("target.payload", lambda: codec.encode_json(payload or {}, what="payload", largest=codec.LARGEST))
            base = Policy()
        else:
            own = self._try("target", lambda: judged(self._client, {k: v for k, v in given.items() if k != "payload"}, payload))
            task, body, base = (None, None, Policy()) if own is None else (own.kind, own.body, own.policy)
        policy = self._policy(data, base)
        if queue is None or task is None or body is None or policy is None:
            return None
        lane = self._try("priority", lambda: Lane(
            namespace=self._client.namespace, queue=queue, task=task, priority=check_priority(data.get("priority", 0))
        ))  # fmt: skip
        if lane is None:
            return None
        return Target(lane, policy_row(policy), body), (policy, msgspec.json.decode(body))

    def _policy(self, data: Mapping[str, Any], base: Policy) -> Policy | None:
        spans, given = self._spans(data), data.get("retry", {})
        self._check_retry(given)
        if self.problems:
            return None
        backoff = self._try("retry", lambda: _backoff(given))
        return None if backoff is None else self._try("retry", lambda: policy_from(base, given, spans, backoff))

    def _spans(self, data: Mapping[str, Any]) -> dict[str, int | None]:
        said = {field: data[field] for field in SPANS if field in data}
        said |= {f"keep.{name}": value for name, value in data.get("keep", {}).items()}
        spans: dict[str, int | None] = {}
        for field, value in said.items():
            if field not in SPANS:
                self.wrong(field, "keep has run, result and receipts")
            elif value is None and field in ("timeout", "heartbeat_timeout"):
                spans[field] = None
            elif (span := self._try(field, partial(parse_duration, value, option=field))) is not None:
                spans[field] = span
        return spans

    def _check_retry(self, given: Mapping[str, Any]) -> None:
        kind = given.get("backoff", "exponential")
        if not isinstance(kind, str) or kind not in BACKOFFS:
            self.wrong("retry.backoff", f"backoff is one of {', '.join(BACKOFFS)}, not {shown(kind)}")
            return
        known = (*_RETRY, *BACKOFFS[kind])
        for field in given:
            if field != "backoff" and field not in known:
                self.wrong(f"retry.{field}", f"{kind} has no {field}: write {', '.join(known)}")
            elif field in ("on", "never") and not _is_names(given[field]):
                self.wrong(f"retry.{field}", f"{field} is a list of full names of errors, such as [builtins.ConnectionError]")
        for field in _NEEDED.get(kind, ()):
            if field not in given:
                self.wrong("retry", f"{kind} needs {field}")
        if kind == "steps" and not isinstance(given.get("delays", []), list):
            self.wrong("retry.delays", "delays is a list: [1s, 10s, 1m]")

    def _try(self, field: str, read: Callable[[], Any]) -> Any:
        """What ``read`` gives; where it refuses, None and its problems noted."""
        try:
            return read()
        except (RuleInvalid, TargetInvalid) as error:
            for each in error.errors:
                inner = each["path"]
                self.wrong(inner if inner.startswith(field) else f"{field}.{inner}" if inner else field, each["message"])
        except CallerMistake as error:
            option = str(error.details.get("option", ""))
            self.wrong(option if option.startswith(f"{field}.") else field, error.message)
        return None


def _backoff(given: Mapping[str, Any]) -> retry.Backoff:
    kind = given.get("backoff", "exponential")
    if kind == "steps":
        return retry.steps(*given["delays"])
    return _BUILT[kind](**{name: given[name] for name in BACKOFFS[kind] if name in given})


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each for each in value)
