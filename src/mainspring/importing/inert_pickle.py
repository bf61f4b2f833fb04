"""Pickles of somebody else's, read without running anything: a class becomes a record of what was said of it, and only those
named here are read at all.

Here: which names may stand in a pickle, and what stands for each. Not here: what the records mean (``apscheduler.py``).
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from mainspring.core.problems import Refused

LARGEST = 1 << 20
#: What readers raise of a broken pickle.
_BROKEN = (pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, ImportError, LookupError, MemoryError, RecursionError,
           TypeError, ValueError)  # fmt: skip
_FIELDS = ("BaseField", "WeekField", "DayOfMonthField", "DayOfWeekField", "MonthField")
_EXPRESSIONS = (
    "AllExpression",
    "RangeExpression",
    "MonthRangeExpression",
    "WeekdayRangeExpression",
    "WeekdayPositionExpression",
    "LastDayOfMonthExpression",
)
_TRIGGERS = ("cron.CronTrigger", "interval.IntervalTrigger", "date.DateTrigger", "combining.AndTrigger", "combining.OrTrigger")
_RECORDS = {
    *(("apscheduler.triggers.cron.fields", name) for name in _FIELDS),
    *(("apscheduler.triggers.cron.expressions", name) for name in _EXPRESSIONS),
    *((f"apscheduler.triggers.{module}", name) for module, _, name in (each.partition(".") for each in _TRIGGERS)),
    ("apscheduler.triggers.cron", "CronTrigger"),
}


class Record:
    """What a pickle says of an object: the name of its class, and its fields."""

    kind = ""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        self.fields = {str(name): value for part in parts if isinstance(part, dict) for name, value in part.items()}

    def __getitem__(self, name: str) -> Any:
        return self.__dict__.get("fields", {}).get(name)


class Clock:
    """A zone, by name."""

    def __init__(self, name: str) -> None:
        self.name = name


class Moment:
    """A date and time, and the zone whose clock shows it; None where none was said."""

    def __init__(self, wall: datetime, clock: Clock | None) -> None:
        self.wall, self.clock = wall, clock


def read_pickle(data: bytes) -> Any:
    """What a pickle says.

    Raises:
        Refused: it names what is not known here, or is none, or too large.
    """
    if len(data) > LARGEST:
        raise Refused(f"its pickle is larger than {LARGEST:,} bytes")
    try:
        for operation, argument, _ in pickletools.genops(data):
            if "PUT" in operation.name and isinstance(argument, int) and argument > len(data):
                raise Refused("its pickle asks for more memory than it can need")
        return _Reader(io.BytesIO(data)).load()
    except Refused:
        raise
    except _BROKEN as error:
        raise Refused(f"its pickle cannot be read: {type(error).__name__}") from None


class _Reader(pickle.Unpickler):
    """Finds what is listed, and imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _RECORDS:
            return type(name, (Record,), {"kind": name})
        if (module, name) in _VALUES:
            return _VALUES[module, name]
        raise Refused(f"its pickle names {module}.{name}, which is not loaded: take it out of the job")

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("its pickle names something outside it")


def _moment(raw: Any, clock: Any = None) -> Moment:
    if not isinstance(raw, bytes) or len(raw) != 10 or not (clock is None or isinstance(clock, Clock)):
        raise Refused("its pickle has a date and time that cannot be read")
    wall = datetime(  # noqa: DTZ001  (the zone stands beside it)
        raw[0] << 8 | raw[1], raw[2] & 0x7F, raw[3], raw[4], raw[5], raw[6], int.from_bytes(raw[7:], "big"), fold=raw[2] >> 7
    )
    return Moment(wall, clock)


def _offset(offset: Any = None, *_: Any) -> Clock:
    if offset != timedelta():
        raise Refused("an offset is no zone, for zones change their offset: give the trigger a zone by name")
    return Clock("UTC")


def _clock(name: Any, *_: Any) -> Clock:
    if not isinstance(name, str):
        raise Refused("its pickle has a zone without a name")
    return Clock(name)


class _ZoneInfo:
    """Stands for the class, of which a pickle asks one method."""


def _method(owner: Any, name: Any) -> Callable[..., Clock]:
    if owner is not _ZoneInfo or name != "_unpickle":
        raise Refused("its pickle asks for an attribute, which is not looked up")
    return _clock


_VALUES: Mapping[tuple[str, str], Any] = {
    ("datetime", "datetime"): _moment,
    ("datetime", "timedelta"): timedelta,
    ("datetime", "timezone"): _offset,
    ("zoneinfo", "ZoneInfo"): _ZoneInfo,
    ("zoneinfo", "ZoneInfo._unpickle"): _clock,
    ("builtins", "getattr"): _method,
    ("pytz", "_p"): _clock,
    ("pytz", "_UTC"): lambda: Clock("UTC"),
}
