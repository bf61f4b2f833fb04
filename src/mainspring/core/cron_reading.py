"""Cron expressions, from text to a value: four dialects, presets, and every refusal with what to write instead.

Here: which fields a dialect has, how its two day fields go together, and what is no expression at all. Not here: one field
(``core/cron_fields.py``), calendar expressions (``core/systemd.py``), and which wall times come of it (``core/cron.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from mainspring.core.cron import Cron, Days, Dialect, FromEnd, NearestWeekday, NthWeekday, year_bits
from mainspring.core.cron_fields import Field, Values, date_field, month_field, number_field, read_field, weekday_field
from mainspring.core.problems import Refused, listed
from mainspring.core.systemd import read_systemd
from mainspring.errors import shown

LONGEST_EXPRESSION = 512

PRESETS: Mapping[str, str] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_ZONED = re.compile(r"(?:CRON_)?TZ\b.*", re.IGNORECASE | re.DOTALL)
_ZONE_INSTEAD = 'the zone is not part of an expression: write {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}'

_MINUTES_TO_WEEKDAYS = (
    number_field("minute", 0, 59), number_field("hour", 0, 23), date_field(), month_field(), weekday_field(sunday=0),
)  # fmt: skip
_FIELDS: Mapping[Dialect, Sequence[Field]] = {
    Dialect.CRON5: _MINUTES_TO_WEEKDAYS,
    Dialect.CRON6: (number_field("second", 0, 59), *_MINUTES_TO_WEEKDAYS),
    Dialect.QUARTZ: (
        number_field("second", 0, 59, wraps=True),
        number_field("minute", 0, 59, wraps=True),
        number_field("hour", 0, 23, wraps=True),
        date_field(wraps=True),
        month_field(wraps=True),
        weekday_field(sunday=1, wraps=True),
        Field(name="year", low=1970, high=2099, most=2099),
    ),
}


def read_cron(text: object, dialect: Dialect = Dialect.CRON5, *, seed: str = "") -> Cron:
    """Read an expression. ``seed`` (namespace and name of the schedule) decides what ``H`` is, for ever.

    Raises:
        Refused: with a sentence for every field that cannot be read.
    """
    if not isinstance(text, str):
        raise Refused('an expression is text, such as "30 2 * * *"')
    if len(text) > LONGEST_EXPRESSION:
        raise Refused(f"an expression has at most {LONGEST_EXPRESSION} characters, not {len(text)}: write any_of several")
    if not text.isascii() or not text.isprintable():
        raise Refused("an expression is written in plain letters, digits and spaces (ASCII) on one line")
    stripped = text.strip()
    if not stripped:
        raise Refused('the expression is empty: write five fields, such as "30 2 * * *"')
    if _ZONED.fullmatch(stripped):
        raise Refused(_ZONE_INSTEAD)
    if dialect is Dialect.SYSTEMD:
        return read_systemd(text)
    if stripped.startswith("@"):
        return _preset(text, stripped.lower(), dialect)
    return _read(text, stripped.upper().split(), dialect, seed)


def _preset(text: str, name: str, dialect: Dialect) -> Cron:
    if name in PRESETS:
        return replace(_read(text, PRESETS[name].split(), Dialect.CRON5, ""), dialect=dialect)
    if name.startswith("@reboot"):
        raise Refused('"@reboot" is no time: a schedule does not know when machines start; run it from the start of your program')
    if name.startswith(("@every", "@continuous")):
        raise Refused(f'{shown(text)} is no time of day: write {{"every": "5m"}} or {{"after": "1s"}}')
    raise Refused(f"there is no preset {shown(text)}: write {listed(PRESETS, 'or')}")


def _read(text: str, words: list[str], dialect: Dialect, seed: str) -> Cron:
    fields = _FIELDS[dialect]
    _check_count(words, fields, dialect)
    problems: list[str] = []
    found: dict[str, Values] = {}
    written: dict[str, str] = {}
    for word, field in zip(words, fields, strict=False):
        try:
            found[field.name] = read_field(word, field, seed=seed)
        except Refused as refused:
            problems += refused.sentences
        written[field.name] = word
    if dialect is Dialect.QUARTZ:
        problems += _question_marks(written["day of month"], written["weekday"])
    if problems:
        raise Refused(*problems)
    years = found.get("year")
    return Cron(
        text=text,
        dialect=dialect,
        resolved=" ".join(values.text for values in found.values()),
        seconds=found["second"].bits if "second" in found else 1,
        minutes=found["minute"].bits,
        hours=found["hour"].bits,
        days=_days(found, written, dialect),
        months=found["month"].bits,
        years=None if years is None or written["year"] == "*" else sum(year_bits(n, n) for n in _numbers(years.bits)),
        is_wildcard=any(written.get(name, "").startswith("*") for name in ("second", "minute", "hour")),
    )


def _numbers(bits: int) -> list[int]:
    return [number for number in range(1970, 2100) if bits >> number & 1]


def _days(found: Mapping[str, Values], written: Mapping[str, str], dialect: Dialect) -> Days:
    """Days as the dialect combines its two day fields: cron's fields both count unless neither starts with ``*``."""
    dates, weekdays = found["day of month"], found["weekday"]
    is_open = any(written[name].startswith(("*", "?")) for name in ("day of month", "weekday"))
    matches: Literal["both", "either"] = "both" if is_open or dialect is Dialect.QUARTZ else "either"
    return Days(
        dates=dates.bits,
        date_specials=tuple(each for each in dates.specials if isinstance(each, FromEnd | NearestWeekday)),
        weekdays=weekdays.bits,
        weekday_specials=tuple(each for each in weekdays.specials if isinstance(each, NthWeekday)),
        matches=matches,
    )


def _question_marks(date: str, weekday: str) -> list[str]:
    """Quartz knows a day by its date or by its weekday, and wants to be told which of them does not matter."""
    if (date == "?") != (weekday == "?"):
        return []
    instead = f"0 0 12 ? * {weekday}" if weekday not in ("?", "*") else "0 0 12 15 * ?"
    return [f'quartz wants "?" for exactly one of day of month and weekday: write as in "{instead}"']


def _check_count(words: Sequence[str], fields: Sequence[Field], dialect: Dialect) -> None:
    least = len(fields) - (dialect is Dialect.QUARTZ)
    if least <= len(words) <= len(fields):
        return
    names = " ".join(field.name.replace(" ", "-") for field in fields)
    wanted = "6 or 7" if dialect is Dialect.QUARTZ else least
    told = f"{len(words)} field{'s' if len(words) > 1 else ''}; {dialect} has {wanted}: {names}"
    hint = ""
    if dialect is Dialect.CRON5 and len(words) in (6, 7):
        kinds = "cron6 or quartz" if len(words) == 6 else "quartz"
        hint = f"; for one that begins with seconds say dialect: {kinds}"
    elif dialect is Dialect.CRON5 and any(":" in word or ".." in word for word in words):
        hint = "; for a calendar expression say dialect: systemd"
    raise Refused(told + hint)
