"""What an answer over HTTP means for the attempt: a success, a failure with or without another try, or "not yet".

Here: the criteria of success, the classes of status codes, ``Retry-After``, and whether a redirect is followed.
Not here: sending and reading (``targets``), and what the outcome does to the run (``attempts``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Any, assert_never

from mainspring.core.attempts import Failed, GaveItselfBack, Outcome, Succeeded
from mainspring.core.durations import DAY, MINUTE, SECOND
from mainspring.core.launch import UnfilledError, pointed
from mainspring.errors import shown

DEFAULT_CODES = ((200, 299),)
LONGEST_RETRY_AFTER = 15 * MINUTE
_NOT_YET = 30 * SECOND  # for a server that says "too many" and not until when
_FULL = 429
_TRY_AGAIN = frozenset({408, 425})
_KEEP_METHOD = frozenset({301, 302, 307, 308})
_SEE_OTHER = 303
_MISSING = object()


# -- criteria --------------------------------------------------------------------------------------------------------


class Operator(StrEnum):
    """What a condition asks of the value it points at."""

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    IN = "in"
    EXISTS = "exists"
    GT = "gt"
    LT = "lt"
    CONTAINS = "contains"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that must hold of the JSON of an answer: ``at`` is a pointer."""

    at: str
    operator: Operator
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What makes an answer a success: its code is in one of ``codes`` (both ends included), and every condition holds."""

    codes: tuple[tuple[int, int], ...] = DEFAULT_CODES
    conditions: tuple[Condition, ...] = ()

    def holds_code(self, status: int) -> bool:
        """Whether the code alone is one of success."""
        return any(low <= status <= high for low, high in self.codes)


def broken_condition(criteria: Criteria, document: Any) -> str | None:
    """The first condition that does not hold of ``document``, for people; None if all do."""
    for condition in criteria.conditions:
        try:
            found = pointed(document, condition.at)
        except UnfilledError:
            found = _MISSING
        if not _holds(condition, found):
            is_there = "nothing" if found is _MISSING else shown(found)
            return f"at {condition.at!r} is {is_there}, which should be: {condition.operator.value} {shown(condition.value)}"
    return None


def _holds(condition: Condition, found: Any) -> bool:
    operator, value = condition.operator, condition.value
    if operator is Operator.EXISTS:
        return (found is not _MISSING) is bool(value)
    if found is _MISSING:
        return operator is Operator.NOT_EQUALS
    match operator:
        case Operator.EQUALS:
            return _same(found, value)
        case Operator.NOT_EQUALS:
            return not _same(found, value)
        case Operator.IN:
            return any(_same(found, each) for each in value)
        case Operator.GT:
            return _comparable(found, value) and bool(found > value)
        case Operator.LT:
            return _comparable(found, value) and bool(found < value)
        case Operator.CONTAINS:
            return _contains(found, value)
        case _:
            assert_never(operator)


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON, where true is not 1."""
    match one, other:
        case list(), list():
            return len(one) == len(other) and all(map(_same, one, other))
        case dict(), dict():
            return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
        case _:
            return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _comparable(one: Any, other: Any) -> bool:
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (one, other))
    return numbers or (isinstance(one, str) and isinstance(other, str))


def _contains(found: Any, value: Any) -> bool:
    match found:
        case str():
            return isinstance(value, str) and value in found
        case list():
            return any(_same(each, value) for each in found)
        case Mapping():
            return isinstance(value, str) and value in found
        case _:
            return False


# -- the decision ----------------------------------------------------------------------------------------------------


def judged(status: int, criteria: Criteria, *, retry_after_us: int | None, broken: str | None, result: bytes) -> Outcome:
    """What an answer that was read to its end means. ``broken`` is the condition that does not hold; ``result`` is the run's if it
    succeeds. A wait that the server asked for is kept, up to fifteen minutes."""
    after = None if retry_after_us is None else min(retry_after_us, LONGEST_RETRY_AFTER)
    if criteria.holds_code(status):
        if broken is None:
            return Succeeded(result)
        return Failed(code="condition_failed", message=f"the answer came with {named(status)}, but {broken}", after_us=after)
    if status == _FULL:
        return GaveItselfBack(after_us=_NOT_YET if after is None else after, reason=f"http_{status}")
    told, is_passing = f"the answer is {named(status)}", status in _TRY_AGAIN or status >= 500
    return Failed(code=f"http_{status}", message=told, after_us=after if is_passing else None, final=not is_passing)


def named(status: int) -> str:
    """A status code with its name, where it has one."""
    return f"{status} {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else str(status)


def retry_after(value: str | None, now_us: int) -> int | None:
    """What ``Retry-After`` asks for, from ``now_us`` on: seconds, or a date. None if nothing that can be read."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return int(text[:9]) * SECOND
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    until = int((at - datetime.fromtimestamp(0, UTC)).total_seconds() * SECOND)
    return min(max(until - now_us, 0), DAY)


def is_followed(method: str, status: int) -> bool:
    """Whether a redirect can be followed with the same method; no request ever turns into one with another."""
    return status in _KEEP_METHOD or (status == _SEE_OTHER and method in {"GET", "HEAD"})
