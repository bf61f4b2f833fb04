"""Spans and instants as people write them, to and from whole microseconds.

Here: reading and printing. Not here: the present instant (it is always an argument) and time zones by name.
Inside Mainspring every span and instant is an ``int`` of microseconds, instants counted from 1970-01-01T00:00:00Z.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from mainspring.errors import InvalidOption, shown

Duration: TypeAlias = str | int | float | timedelta
"""What every option that takes a span accepts: ``"1h30m"``, ``"PT1H30M"``, a number of seconds, a ``timedelta``."""

MILLISECOND = 1_000
SECOND = 1_000 * MILLISECOND
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY
LONGEST = 3653 * DAY  # any ten calendar years fit, leap days included

_HOW = 'write "90s", "5m", "1h30m", "2d", "250ms", "PT1H30M", a number of seconds or a timedelta'
_NUMBER = r"([0-9]{1,18}(?:\.[0-9]{1,18})?)"
_COMPACT = re.compile("".join(f"(?:{_NUMBER}{unit})?" for unit in ("w", "d", "h", "m", "s", "ms", "(?:us|µs)")))
_COMPACT_UNITS = (WEEK, DAY, HOUR, MINUTE, SECOND, MILLISECOND, 1)
_ISO = re.compile(f"P(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?=[0-9])(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?")
_ISO_UNITS = (WEEK, DAY, HOUR, MINUTE, SECOND)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE = timedelta(microseconds=1)


def parse_duration(value: Duration, *, option: str) -> int:
    """Read a span of 0 to ten years as microseconds, rounded to the nearest.

    Raises ``InvalidOption`` naming ``option`` for anything negative, unreadable, not finite or too long.
    """
    span = _span(value)
    if span is None or span < 0:
        raise InvalidOption(f"{option} {shown(value)} {_what_is_wrong(value)}: {_HOW}", option=option)
    if span > LONGEST:
        raise InvalidOption(f"{option} {shown(value)} is too long: ten years is the most", option=option)
    return span


def _span(value: object) -> int | None:
    """Microseconds, possibly below zero or too many; ``None`` if the value is no span."""
    match value:
        case bool():
            return None
        case str():
            return _read(value.strip())
        case int():
            return value * SECOND
        case float():  # NaN is not >= 0; the bound keeps infinity from the product
            return round(min(value, 1e12) * SECOND) if value >= 0 else None
        case timedelta():
            return value // _ONE
        case _:
            return None


def _read(text: str) -> int | None:
    """The span a text stands for, or ``None`` if it is no span."""
    for form, units in ((_COMPACT, _COMPACT_UNITS), (_ISO, _ISO_UNITS)):
        found = form.fullmatch(text)
        if found and any(found.groups()):
            return sum(_scaled(number, unit) for number, unit in zip(found.groups(), units, strict=True) if number)
    return None


def _scaled(number: str, unit: int) -> int:
    """``number`` times ``unit`` in whole numbers: binary fractions would not read back what was printed."""
    whole, _, fraction = number.partition(".")
    denominator: int = 10 ** len(fraction)
    return (int(whole + fraction) * unit * 2 + denominator) // (2 * denominator)


def _what_is_wrong(value: object) -> str:
    match value:
        case str() if not value.strip():
            return "is empty"
        case str() if re.fullmatch(r"\s*[0-9.]+\s*", value):
            return "has no unit"
        case str() if re.match(r"\s*P[^T]*[YM]", value):
            return "has years or months, which have no fixed length"
        case str() if not re.match(r"\s*-", value):
            return "is no duration"
        case bool():
            return "is no duration"
        case float() if math.isnan(value):
            return "is no number"
        case str() | int() | float() | timedelta():
            return "is negative"
        case _:
            return "is no duration"


def format_duration(span_us: int) -> str:
    """Print a span compactly (``1h30m``, ``2d``, ``1.5s``, ``250ms``, ``0s``); ``parse_duration`` reads it back."""
    if span_us < 0:
        return "-" + format_duration(-span_us)
    return "".join(_parts(span_us)) or "0s"


def _parts(span: int) -> Iterator[str]:
    """A span under a second in the unit that suits it, a longer one as days to seconds with a fraction."""
    if 0 < span < MILLISECOND:
        yield f"{span}us"
    elif MILLISECOND <= span < SECOND:
        yield _decimal(span, MILLISECOND) + "ms"
    else:
        for unit, letter in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m")):
            count, span = divmod(span, unit)
            if count:
                yield f"{count}{letter}"
        if span:
            yield _decimal(span, SECOND) + "s"


def _decimal(span: int, unit: int) -> str:
    whole, rest = divmod(span, unit)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}}".rstrip("0").rstrip(".") if rest else str(whole)


def parse_instant(value: str | datetime, *, option: str) -> int:
    """Read an aware ``datetime`` or an RFC 3339 text with an offset as microseconds since 1970.

    Raises ``InvalidOption`` naming ``option``; a naive value is refused, for nobody can know what it means.
    """
    instant = _as_datetime(value)
    if instant is None:
        raise InvalidOption(
            f'{option} {shown(value)} is no instant: write an aware datetime or "2031-05-01T09:00:00Z"', option=option
        )
    if instant.utcoffset() is None:
        raise InvalidOption(
            f"{option} {shown(value)} has no time zone: use datetime(..., tzinfo=UTC) or value.astimezone(),"
            ' or end the text with "Z" or an offset such as "+02:00"',
            option=option,
        )
    return (instant - _EPOCH) // _ONE


def _as_datetime(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value.strip())
    except ValueError:
        return None


def as_datetime(instant_us: int) -> datetime:
    """An instant as an aware ``datetime`` in UTC."""
    return _EPOCH + instant_us * _ONE


def format_instant(instant_us: int) -> str:
    """Print an instant as RFC 3339 in UTC (``2031-05-01T09:00:00.25Z``), trailing zeros dropped.

    Raises ``OverflowError`` outside the years 1 to 9999.
    """
    instant = (_EPOCH + instant_us * _ONE).replace(tzinfo=None)
    text = instant.isoformat()
    return (text.rstrip("0") if instant.microsecond else text) + "Z"
