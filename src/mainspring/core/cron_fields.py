"""One field of a cron expression, from text to bits.

Here: lists, ranges, steps, names, ``H``, and the special forms of days. Not here: which fields a dialect has and how they go
together (``core/cron_reading.py``), and systemd's calendar expressions (``core/systemd.py``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mainspring.core.cron import FromEnd, NearestWeekday, NthWeekday, Special
from mainspring.core.dates import MONTH_NAMES, WEEKDAY_NAMES
from mainspring.core.problems import Refused
from mainspring.errors import shown

_STEPPED = re.compile(r"([^/]+)/([0-9]{1,4})")
_HASHED = re.compile(r"H(?:\(([0-9]{1,4})-([0-9]{1,4})\))?")
_RANGE = re.compile(r"([A-Z0-9]+)-([A-Z0-9]+)")
_NUMBER = re.compile(r"[0-9]{1,4}")
_FROM_END = re.compile(r"L(?:-([0-9]{1,2}))?(W?)")
_NEAREST = re.compile(r"([0-9]{1,2})W")
_LAST_OF = re.compile(r"([0-7]|[A-Z]{3})L")
_NTH_OF = re.compile(r"([0-9A-Z]+)#([0-9]{1,2})")

MONTHS: Mapping[str, int] = {name[:3].upper(): number for number, name in enumerate(MONTH_NAMES, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What one field may hold. ``high`` is where ``*`` ends; ``most`` the largest number that may be written."""

    name: str
    low: int
    high: int
    most: int
    names: Mapping[str, int] = field(default_factory=dict)
    wraps: bool = False
    #: What ``H`` picks from: days of the month end at 28, so that every month has one.
    hash_high: int | None = None
    is_date: bool = False
    is_weekday: bool = False
    #: The number of Monday, in a field of weekdays.
    monday: int = 1


def number_field(name: str, low: int, high: int, *, wraps: bool = False) -> Field:
    """A field of numbers."""
    return Field(name=name, low=low, high=high, most=high, wraps=wraps, hash_high=high)


def date_field(*, wraps: bool = False) -> Field:
    """Days of the month."""
    return Field(name="day of month", low=1, high=31, most=31, wraps=wraps, hash_high=28, is_date=True)


def month_field(*, wraps: bool = False) -> Field:
    """Months, by number or name."""
    return Field(name="month", low=1, high=12, most=12, names=MONTHS, wraps=wraps, hash_high=12)


def weekday_field(*, sunday: int, wraps: bool = False) -> Field:
    """Weekdays counted from Sunday as 0 (and 7), or as 1, where ``L`` is the last of them."""
    names = {name[:3].upper(): sunday + (number + 1) % 7 for number, name in enumerate(WEEKDAY_NAMES)}
    names |= {"L": 7} if sunday else {}
    return Field(
        name="weekday", low=sunday, high=sunday + 6, most=7, names=names, wraps=wraps, hash_high=sunday + 6, is_weekday=True,
        monday=sunday + 1,
    )  # fmt: skip


@dataclass(slots=True)
class Values:
    """What a field turned out to hold. Weekdays are counted from Monday as 0; ``text`` has numbers for every ``H``."""

    bits: int = 0
    specials: tuple[Special, ...] = ()
    text: str = ""


def read_field(text: str, field: Field, *, seed: str) -> Values:
    """Read one field of an expression in upper case.

    Raises:
        Refused: saying what to write instead.
    """
    found = Values()
    texts = []
    for item in text.split(","):
        if not item:
            raise Refused(f"{field.name} {shown(text)} has a comma too many: write a list as 1,2,3")
        special = _special(item, field)
        if special is not None:
            found.specials += (special,)
            texts.append(item)
            continue
        bits, resolved = _read_item(item, field, seed)
        found.bits |= bits
        texts.append(resolved)
    if field.is_weekday:
        found.bits = _from_monday(found.bits, field)
    found.text = ",".join(texts)
    return found


def _from_monday(bits: int, field: Field) -> int:
    """Weekdays as a dialect counts them, counted from Monday as 0."""
    return sum(
        1 << day
        for day in range(7)
        for number in (day + field.monday, day + field.monday - 7)
        if number >= 0 and bits >> number & 1
    )


def _read_item(item: str, field: Field, seed: str) -> tuple[int, str]:
    """The bits of one item of a list, and its text without ``H``."""
    stepped = _STEPPED.fullmatch(item)
    base, step = (stepped.group(1), _step(stepped.group(2), field)) if stepped else (item, 1)
    hashed = _HASHED.fullmatch(base)
    if hashed:
        first, last = _hashed(hashed, field, step if stepped else None, seed)
        resolved = f"{first}-{last}/{step}" if stepped else str(first)
        return _bits(first, last, step), resolved
    if base == "*" or (base == "?" and not stepped and (field.is_date or field.is_weekday)):
        return _bits(field.low, field.high, step), item
    ranged = _RANGE.fullmatch(base)
    if ranged:
        return _range(item, field, ranged.group(1), ranged.group(2), step), item
    first = _number(base, field, item)
    return (_bits(first, max(first, field.high), step) if stepped else 1 << first), item


def _bits(first: int, last: int, step: int) -> int:
    return sum(1 << number for number in range(first, last + 1, step))


def _step(text: str, field: Field) -> int:
    """A step within the field."""
    step, size = int(text), field.high - field.low + 1
    if step == 0:
        raise Refused(f"{field.name} has a step of 0: write 1 or more after the /")
    if step > size:
        unit = {"second": "s", "minute": "m", "hour": "h", "day of month": "d"}.get(field.name)
        instead = f'for a fixed distance write {{"every": "{step}{unit}"}}' if unit else f"write {field.low}"
        raise Refused(f"{field.name} has a step of {step}, beyond its {size} values, and would start again each time: {instead}")
    return step


def _range(item: str, field: Field, first: str, last: str, step: int) -> int:
    """``a-b``, round the end where the dialect lets it."""
    low, high = _number(first, field, item), _number(last, field, item)
    if field.is_weekday and field.low == 0 and high == 0 and last in field.names:
        high = 7
    if low <= high:
        return _bits(low, high, step)
    if field.wraps:
        size = field.high - field.low + 1
        return sum(1 << (field.low + (number - field.low) % size) for number in range(low, high + size + 1, step))
    parts = [f"{low}-{field.high}" if low < field.high else str(low), f"{field.low}-{high}" if high > field.low else str(high)]
    raise Refused(f"{field.name} {shown(item)} runs backwards: write {','.join(parts)}")


def _number(text: str, field: Field, item: str) -> int:
    """A number or a name that the field knows."""
    if text in field.names:
        return field.names[text]
    if not _NUMBER.fullmatch(text):
        raise Refused(f"{field.name} {shown(item)} cannot be read: {_how(field)}")
    number = int(text)
    if not field.low <= number <= field.most:
        raise Refused(f"{field.name} {shown(item)} is out of range: write numbers from {field.low} to {field.most}")
    return number


def _how(field: Field) -> str:
    names = f" or {' '.join(sorted(field.names, key=field.names.__getitem__))}" if field.names else ""
    more = {True: ", L, L-3, LW or 15W"}.get(field.is_date, "") or (
        ", 5L (the last) or 5#3 (the third)" if field.is_weekday else ""
    )
    return f"write {field.low}-{field.most}{names}, lists 1,2, ranges 1-3, steps */2{more}"


# --- H: a number that stays -------------------------------------------------------------------------------------------


def _hashed(found: re.Match[str], field: Field, step: int | None, seed: str) -> tuple[int, int]:
    """The first and the last number that an ``H`` stands for."""
    if field.hash_high is None:
        raise Refused(f"{field.name} cannot be H: write a number or *")
    low, high = field.low, field.hash_high
    if found.group(1):
        low, high = int(found.group(1)), int(found.group(2))
        if not field.low <= low <= high <= field.most:
            written = shown(found.group())
            raise Refused(f"{field.name} {written} is out of range: write H({field.low}-{field.hash_high}) or less")
    size = high - low + 1
    first = low + stable_hash(f"{seed}\x00{field.name}") % min(step or size, size)
    return (first, first) if step is None else (first, high)


def stable_hash(text: str) -> int:
    """A number of 64 bits that is the same in every process and for ever."""
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big")


# --- special days -----------------------------------------------------------------------------------------------------


def _special(item: str, field: Field) -> Special | None:
    """``L``, ``L-3``, ``LW``, ``15W``, ``5L`` or ``5#3``; None for anything else."""
    if field.is_date:
        return _special_date(item, field)
    return _special_weekday(item, field) if field.is_weekday else None


def _special_date(item: str, field: Field) -> Special | None:
    if found := _FROM_END.fullmatch(item):
        days = int(found.group(1) or 0)
        if days > 30:
            raise Refused(f"{field.name} {shown(item)} is before every month: write L-1 to L-30")
        return NearestWeekday(days, True) if found.group(2) else FromEnd(days)
    if found := _NEAREST.fullmatch(item):
        return NearestWeekday(_number(found.group(1), field, item), False)
    return None


def _special_weekday(item: str, field: Field) -> Special | None:
    if item == "L" and item not in field.names:
        raise Refused('weekday "L" says of no day that it is the last: write 5L for the last Friday, or 6 for every Saturday')
    if found := _NTH_OF.fullmatch(item):
        day, nth = _number(found.group(1), field, item), int(found.group(2))
        if not 1 <= nth <= 5:
            raise Refused(
                f"weekday {shown(item)} asks for a week that no month has: write #1 to #5, or {found.group(1)}L for the last"
            )
        return NthWeekday((day - field.monday) % 7, nth)
    if found := _LAST_OF.fullmatch(item):
        return NthWeekday((_number(found.group(1), field, item) - field.monday) % 7, -1)
    return None
