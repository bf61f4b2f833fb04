"""What a task raises, or returns, to say how its attempt ended: an outcome, and no error of the library.

    TaskSignal
    ├─ Retry          this attempt failed; try again, after this delay
    ├─ Fail           the run failed; no retry
    ├─ Release        not yet: wait, and spend no failure
    │  └─ RateLimited the same, and it slows all who share the rate
    ├─ Skip           nothing to do: the run ends skipped
    └─ Cancelled      the task stopped because it was asked to

Here: the signals, and the check of their arguments. Not here: what they do to a run (``core/attempts.py``).
"""

# ruff: noqa: N818  (these names say what happened; "Error" at the end of each would say nothing more)

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from mainspring.errors import InvalidOption, shown


class TaskSignal(Exception):
    """Raised by user code inside a task to choose how the attempt ends. Never an error of the library.

    A signal crosses process borders unchanged. Its arguments are checked where it is made, so that a mistake points
    at the line that made it; the text of a duration (``"2m"``) is read by the worker that records the outcome.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(_text(message, option="message"))
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        # The default would call the constructor with positional arguments, which keyword-only signals refuse.
        return _revive, (type(self), self.message), self.__dict__


class Retry(TaskSignal):
    """This attempt failed. While budget is left, try again ``after`` this delay (the task's back-off if ``None``)."""

    def __init__(self, *, after: str | float | timedelta | None = None, code: str = "error", message: str = "") -> None:
        super().__init__(message)
        self.after = None if after is None else _delay(after)
        self.code = _code(code)


class Fail(TaskSignal):
    """The run failed and trying again would not help: no retry, whatever budget is left."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message)
        self.code = _code(code)


class Release(TaskSignal):
    """Not yet. Give the run back until then, spending a release and no failure.

    Exactly one of ``after`` (a delay from now, 100 ms at least), ``until`` (an aware instant) and ``immediately=True`` is given. A
    run comes back immediately up to ten times in a row, and then waits 100 ms. ``payload`` is the payload from now on, as a mapping
    of arguments by name or a tuple of them; one that does not fit the task fails the run (``payload_invalid``).
    """

    def __init__(
        self,
        *,
        after: str | float | timedelta | None = None,
        until: datetime | str | None = None,
        reason: str = "",
        payload: Mapping[str, Any] | tuple[Any, ...] | None = None,
        immediately: bool = False,
    ) -> None:
        given = [
            name for name, value in (("after", after), ("until", until), ("immediately", immediately or None)) if value is not None
        ]
        if len(given) != 1:
            told = " and ".join(given) or "none of them"
            raise InvalidOption(f'Release needs after="2m", until=<instant> or immediately=True, got {told}', option="after")
        if not isinstance(payload, Mapping | tuple | None):
            told = f"payload must be a mapping of arguments by name or a tuple of them, got {shown(payload)}"
            raise InvalidOption(told, option="payload")
        super().__init__(_text(reason, option="reason"))
        self.after = None if after is None else _delay(after)
        self.until = None if until is None else _aware(until)
        self.reason = reason
        self.payload = payload
        self.immediately = immediately


class RateLimited(Release):
    """Somebody refused for now ("429"). Give the run back for so long, as ``Release`` does, and let nothing that shares a rate with
    it begin before then: all rates that hold for this run, or those of the one named ``limit``. An instant never moves back."""

    def __init__(self, *, after: str | float | timedelta, limit: str | None = None, reason: str = "rate_limited") -> None:
        super().__init__(after=after, reason=reason)
        self.limit = None if limit is None else _text(limit, option="limit")


class Skip(TaskSignal):
    """There is nothing to do, and that is no failure: the run ends ``skipped`` with this reason."""

    def __init__(self, reason: str) -> None:
        if not _text(reason, option="reason").strip():
            raise InvalidOption('Skip needs a reason, such as Skip("already_sent")', option="reason")
        super().__init__(reason)
        self.reason = reason


class Cancelled(TaskSignal):
    """The task stopped because cancellation was asked for. Raised by ``ctx`` at its check points, or by the task."""


def _revive(signal: type[TaskSignal], message: str) -> TaskSignal:
    """Rebuild a pickled signal without its constructor; pickle then restores the attributes."""
    return signal.__new__(signal, message)


_CODE = re.compile(r"[A-Za-z0-9._/-]{1,200}")


def _text(value: object, *, option: str) -> str:
    if not isinstance(value, str):
        raise InvalidOption(f"{option} must be a string, got {shown(value)}", option=option)
    return value


def _code(value: object) -> str:
    if not isinstance(value, str) or not _CODE.fullmatch(value):
        raise InvalidOption(
            f'code must be 1-200 characters of A-Z a-z 0-9 . _ / -, such as "bad_address", got {shown(value)}',
            option="code",
        )
    return value


def _delay(value: object) -> str | float | timedelta:
    """Refuse what can be seen to be no delay without reading the text of it."""
    match value:
        case bool():
            pass
        case str() if value.strip():
            return value
        case int() | float() if 0 <= value < math.inf:  # not NaN, not infinite, and no overflow for a huge int
            return value
        case timedelta() if value >= timedelta(0):
            return value
    raise InvalidOption(f'after must be a delay such as "2m", 120 (seconds) or a timedelta, got {shown(value)}', option="after")


def _aware(value: object) -> datetime | str:
    match value:
        case str() if value.strip():
            return value
        case datetime() if value.utcoffset() is not None:
            return value
        case datetime():
            hint = "got a naive datetime: make it aware, datetime.now(timezone.utc) + timedelta(minutes=2)"
        case _:
            hint = f'write an aware datetime or "2031-05-01T09:00:00Z", got {shown(value)}'
    raise InvalidOption(f"until must be an instant: {hint}", option="until")
