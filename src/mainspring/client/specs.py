"""What a person writes of a schedule, read: its policies and bounds, with everything that is wrong told at once.

Here: ``spec_of``, the fields beside rule and target, and how mistakes are collected. Not here: whole documents and their targets
(``client/definitions.py``), and rules (``core/rule_reading.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar, get_args

from mainspring.core import attributes as labels
from mainspring.core import retry
from mainspring.core.alerts import LATE_AFTER_US, SPANS, Alerts, Kind
from mainspring.core.durations import DAY, MILLISECOND, MINUTE, SECOND, Duration, parse_duration, parse_instant
from mainspring.core.jitter import Jitter, JitterMode
from mainspring.core.overlap import SYNONYMS, OnOverlap, Overlap
from mainspring.core.policy import Policy
from mainspring.core.rule_reading import read_rule
from mainspring.core.rules import Rule
from mainspring.core.schedule import Spec
from mainspring.core.settling import MOST_SETTLED, Misfire, OnMisfire, Order
from mainspring.errors import CallerMistake, InvalidOption, PayloadInvalid, RuleInvalid, ScheduleInvalid, TargetInvalid, shown
from mainspring.zones import zone

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_RULES = get_args(Rule)
_BACKOFFS = ("none", "fixed", "exponential")
_INITIAL_US, _MOST_US = 30 * SECOND, 15 * MINUTE


class Reading:
    """Reads fields one by one and notes what is wrong. Every read returns something usable, so that it goes on to the end."""

    def __init__(self) -> None:
        self._raised: list[CallerMistake] = []
        self.errors: list[dict[str, str]] = []

    def tried(self, path: str, value: object, read: Callable[[], T], otherwise: T) -> T:
        """What is read, or the mistake of it noted."""
        try:
            return read()
        except (InvalidOption, RuleInvalid, TargetInvalid, PayloadInvalid) as mistake:
            self._raised.append(mistake)
            self.errors += _told(mistake, path, value)
            return otherwise

    def wrong(self, path: str, value: object, message: str) -> None:
        """Note a mistake."""
        self._raised.append(InvalidOption(message, option=path))
        self.errors.append({"path": path, "value": shown(value), "message": message})

    def check(self, *, as_document: bool = False) -> None:
        """Go on if nothing was found.

        Raises:
            ScheduleInvalid: with everything; what concerns one thing only is raised as it is, but for documents.
        """
        if len(self._raised) == 1 and not as_document:
            raise self._raised[0]
        if self.errors:
            told = "; ".join(each["message"] for each in self.errors[:3])
            more = f"; and {len(self.errors) - 3} more" if len(self.errors) > 3 else ""
            raise ScheduleInvalid(told + more, option=self.errors[0]["path"], errors=self.errors)

    # -- kinds of fields --------------------------------------------------------------------------------------------

    def fields(self, path: str, given: object, known: Collection[str], *, short: str = "") -> Mapping[str, Any]:
        """The fields of an object, none of them unknown; null is as if it were not written. ``short``: what anything else is."""
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            if short and isinstance(given, str | int | float) and not isinstance(given, bool):
                return {short: given}
            self.wrong(path, given, f"{path} must be an object with {', '.join(sorted(known))}, not {shown(given)}")
            return {}
        for name in given:
            if name not in known:
                at = f"{path}.{name}" if path else str(name)
                what = path or "a schedule"
                self.wrong(at, given[name], f"{what} has no field {name!r}; there are {', '.join(sorted(known))}")
        return {name: value for name, value in given.items() if value is not None}

    def word(self, said: Mapping[str, Any], path: str, kind: type[E], otherwise: E) -> E:
        """One of some words."""
        value = said.get(_last(path), otherwise)
        if isinstance(value, str) and value in set(kind):
            return kind(value)
        self.wrong(path, value, f"{path} must be one of {', '.join(kind)}, not {shown(value)}")
        return otherwise

    def whole(self, said: Mapping[str, Any], path: str, least: int, most: int, otherwise: Any) -> Any:
        """A whole number within bounds."""
        value = said.get(_last(path))
        return otherwise if value is None else self.tried(path, value, lambda: check_whole(value, path, least, most), otherwise)

    def flag(self, said: Mapping[str, Any], path: str, *, otherwise: bool) -> bool:
        """True or false."""
        value = said.get(_last(path), otherwise)
        if isinstance(value, bool):
            return value
        self.wrong(path, value, f"{path} must be true or false, got {shown(value)}")
        return otherwise

    def span(self, said: Mapping[str, Any], path: str, otherwise: Any, *, least: int = 0, most: int | None = None) -> Any:
        """A span of time within bounds, in microseconds."""
        value = said.get(_last(path))
        if value is None:
            return otherwise
        span = self.tried(path, value, lambda: parse_duration(value, option=path), None)
        if span is None:
            return otherwise
        if span < least or (most is not None and span > most):
            bounds = f"at least {least / SECOND:g}s" if most is None else f"from {least / SECOND:g}s to {most / SECOND:g}s"
            self.wrong(path, value, f"{path} must be a span of {bounds}, not {shown(value)}")
            return otherwise
        return span

    def instant(self, path: str, value: datetime | str | None) -> int | None:
        """An instant; None if none is given."""
        return None if value is None else self.tried(path, value, lambda: parse_instant(value, option=path), None)


def spec_of(rule: Rule | Mapping[str, Any], *, target: str, **options: Any) -> Spec:
    """What a schedule says, from what a person writes: the ``options`` of ``schedules.put``.

    Raises:
        RuleInvalid, InvalidOption: the one thing that is wrong. ScheduleInvalid: all that is, if it is more.
    """
    reading = Reading()
    reading.fields("", options, SPEC_FIELDS)
    spec = read_spec(reading, rule, target, **{name: value for name, value in options.items() if name in SPEC_FIELDS})
    reading.check()
    assert spec is not None
    return spec


def read_spec(
    reading: Reading,
    rule: Rule | Mapping[str, Any] | None,
    target: str,
    *,
    enabled: bool | None = True,
    start_at: datetime | str | None = None,
    end_at: datetime | str | None = None,
    max_runs: int | None = None,
    misfire: str | Mapping[str, Any] | None = None,
    overlap: str | Mapping[str, Any] | None = None,
    jitter: Duration | Mapping[str, Any] | None = None,
    start_within: Duration | None = None,
    deadline: Duration | None = None,
    pause_after_failures: int | None = None,
    alerts: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Spec | None:
    """The same, its mistakes noted; None if there is no rule."""
    start, end = reading.instant("start_at", start_at), reading.instant("end_at", end_at)
    if start is not None and end is not None and end < start:
        reading.wrong("end_at", end_at, "end_at is before start_at, so nothing would ever be due")
    if enabled is not None and not isinstance(enabled, bool):
        reading.wrong("enabled", enabled, f"enabled must be true or false, not {shown(enabled)}")
    counts = {"max_runs": max_runs, "pause_after_failures": pause_after_failures}
    spans = {"start_within": start_within, "deadline": deadline}
    found = reading.tried("rule", rule, lambda: rule_of(rule), None)
    none: tuple[tuple[str, str], ...] = ()
    said: dict[str, Any] = {
        "misfire": _misfire(reading, misfire),
        "overlap": _overlap(reading, overlap),
        "jitter": _jitter(reading, jitter),
        "start_within_us": reading.span(spans, "start_within", None),
        "deadline_us": reading.span(spans, "deadline", None),
        "max_runs": reading.whole(counts, "max_runs", 1, 1_000_000_000, None),
        "pause_after_failures": reading.whole(counts, "pause_after_failures", 1, 1_000, None),
        "alerts": _alerts(reading, alerts),
        "attributes": reading.tried("attributes", attributes, lambda: labels.checked(attributes or {}), none),
    }
    if found is None:
        return None
    return Spec(rule=found, enabled=enabled is not False, start_at=start, end_at=end, target=target, **said)


SPEC_FIELDS = tuple(read_spec.__kwdefaults__ or ())


def rule_of(given: object) -> Rule:
    """A rule, or what is written of one.

    Raises:
        RuleInvalid: with everything that is wrong.
    """
    return given if isinstance(given, _RULES) else read_rule(given, is_zone=lambda name: zone(name) is not None)


def _misfire(reading: Reading, given: object) -> Misfire:
    said = reading.fields("misfire", given, {"policy", "grace", "window", "max", "order", "spacing"}, short="policy")
    default = Misfire()
    return Misfire(
        policy=reading.word(said, "misfire.policy", OnMisfire, default.policy),
        grace_us=reading.span(said, "misfire.grace", default.grace_us, least=100 * MILLISECOND, most=DAY),
        window_us=reading.span(said, "misfire.window", default.window_us),
        most=reading.whole(said, "misfire.max", 1, MOST_SETTLED, default.most),
        order=reading.word(said, "misfire.order", Order, default.order),
        spacing_us=reading.span(said, "misfire.spacing", 0),
    )


_OVERLAP_FIELDS = frozenset({"policy", "max_concurrency", "buffer_max", "replace_grace", "retries_hold_slot"})


def _overlap(reading: Reading, given: object) -> Overlap:
    said = reading.fields("overlap", given, _OVERLAP_FIELDS, short="policy")
    policy = SYNONYMS.get(str(said.get("policy"))) or reading.word(said, "overlap.policy", OnOverlap, OnOverlap.FORBID)
    return Overlap(
        policy=policy,
        max_concurrency=reading.whole(said, "overlap.max_concurrency", 1, 10_000, None if policy is OnOverlap.ALLOW else 1),
        buffer_max=reading.whole(said, "overlap.buffer_max", 1, 10_000, 100),
        grace_us=reading.span(said, "overlap.replace_grace", 0),
        retries_hold_slot=reading.flag(said, "overlap.retries_hold_slot", otherwise=False),
    )


def _alerts(reading: Reading, given: object) -> Alerts | None:
    if given is None:
        return None
    said = reading.fields("alerts", given, {*SPANS.values(), "kinds"})
    spans = {each: reading.span(said, f"alerts.{each}", None, least=SECOND) for each in SPANS.values()}
    listed = said.get("kinds")
    kinds = {kind for kind in Kind if kind is Kind.LATE or kind not in SPANS or said.get(SPANS[kind]) is not None}
    if listed is not None:
        kinds = read_kinds(reading, "alerts.kinds", listed)
        for kind, span in SPANS.items():
            if kind in kinds and kind is not Kind.LATE and span not in said:
                reading.wrong("alerts.kinds", listed, f"{kind} needs a span: say alerts.{span}, or leave {kind} out")
            if kind not in kinds and span in said:
                reading.wrong(f"alerts.{span}", said[span], f"alerts.{span} is of {kind}, which alerts.kinds leaves out")
    late = spans["late_after"]
    return Alerts(
        kinds=frozenset(kinds), late_after_us=LATE_AFTER_US if late is None else late,
        succeed_within_us=spans["succeed_within"], no_success_for_us=spans["no_success_for"],
    )  # fmt: skip


def read_kinds(reading: Reading, path: str, listed: object) -> set[Kind]:
    """Kinds of alerts, as a list of them."""
    if not isinstance(listed, list | tuple) or not listed:
        reading.wrong(path, listed, f"{path} must be a list of some of {', '.join(Kind)}")
        return set(Kind)
    known = {str(kind) for kind in Kind}
    for nth, each in enumerate(listed):
        if not isinstance(each, str) or each not in known:
            reading.wrong(f"{path}[{nth}]", each, f"{shown(each)} is no kind of alert; there are {', '.join(Kind)}")
    return {Kind(each) for each in listed if isinstance(each, str) and each in known}


def _jitter(reading: Reading, given: object) -> Jitter | None:
    if given is None:
        return None
    said = reading.fields("jitter", given, {"max", "mode"}, short="max")
    mode = reading.word(said, "jitter.mode", JitterMode, JitterMode.HASH)
    if "max" not in said and isinstance(given, Mapping):
        reading.wrong("jitter.max", None, 'jitter needs max="30s"')
    most = reading.span(said, "jitter.max", None)
    return None if most is None else Jitter(max_us=most, mode=mode)


def read_policy(reading: Reading, said: Mapping[str, Any], policy: Policy) -> Policy:
    """A policy with the ``timeout``, ``max_attempts`` and ``retry`` that are said; the rest of it as it was."""
    given = reading.fields("retry", said.get("retry"), {"max_attempts", "backoff", "initial", "max"})
    timeout = reading.span(said, "timeout", policy.timeout_us, least=MILLISECOND)
    most = reading.whole(said, "max_attempts", 1, 1_000, policy.budgets.max_attempts)
    most = reading.whole(given, "retry.max_attempts", 1, 1_000, most)
    made = replace(policy, timeout_us=timeout, budgets=replace(policy.budgets, max_attempts=most))
    if not given.keys() & {"backoff", "initial", "max"}:
        return made
    return replace(made, backoff=_backoff(reading, given, policy.backoff))


def _backoff(reading: Reading, given: Mapping[str, Any], otherwise: retry.Backoff) -> retry.Backoff:
    kind = given.get("backoff", "exponential")
    if isinstance(kind, list | tuple):
        return reading.tried("retry.backoff", kind, lambda: retry.steps(*kind), otherwise)
    if kind not in _BACKOFFS:
        told = f"retry.backoff must be one of {', '.join(_BACKOFFS)}, or a list of spans, not {shown(kind)}"
        reading.wrong("retry.backoff", kind, told)
        return otherwise
    initial = reading.span(given, "retry.initial", _INITIAL_US)
    most = reading.span(given, "retry.max", max(initial, _MOST_US))
    if most < initial:
        reading.wrong("retry.max", given.get("max"), "retry.max must not be shorter than retry.initial")
    if kind == "exponential":
        return retry.Exponential(initial_us=initial, max_us=most)
    return retry.Fixed(delay_us=0 if kind == "none" else initial)


def check_whole(value: Any, option: str, least: int, most: int) -> int:
    """A whole number within bounds.

    Raises:
        InvalidOption: naming them.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidOption(f"{option} must be a whole number from {least} to {most:,}, not {shown(value)}", option=option)
    return value


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _told(mistake: CallerMistake, path: str, value: object) -> list[dict[str, str]]:
    """A mistake as entries of a list of them, each with its whole path."""
    found = mistake.details.get("errors")
    if not found:
        return [{"path": path, "value": shown(value), "message": mistake.message}]
    return [
        {
            "path": _below(path, str(each.get("path", each.get("field")))),
            "value": str(each.get("value", "")),
            "message": each["message"],
        }
        for each in found
    ]


def _below(path: str, inner: str) -> str:
    if inner == path or inner.startswith((f"{path}.", f"{path}[")):
        return inner
    return f"{path}.{inner}" if inner not in {"", "$"} else path
