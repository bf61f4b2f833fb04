"""Public holidays by place, from the ``holidays`` package: an extra, imported when somebody asks.

Here: the names of places, and their days. Not here: what a calendar makes of them (``core/calendar_reading.py``).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mainspring.core.dates import date_of, day_of

_MISSING = "public holidays need the holidays package: pip install 'mainspring[calendars]'"


def problem(place: str) -> str | None:
    """Why there are no holidays of a place such as ``DE`` or ``DE-BE``, and what to do; None if there are."""
    try:
        import holidays
    except ImportError:
        return _MISSING
    country, _, part = place.partition("-")
    known = holidays.list_supported_countries()
    if country not in known:
        return 'there are no holidays of that place: write the ISO code of a country, "DE", or of a part of one, "DE-BE"'
    if part and part not in known[country]:
        return f"{country} has the parts {', '.join(sorted(known[country])) or 'of none'}: write one of them, or the country alone"
    return None


def days(place: str, first: int, end: int) -> list[int]:
    """The holidays of a place from day ``first`` to before ``end``, in order."""
    years = range(date_of(first).year, date_of(end - 1).year + 1)
    found = (day_of(each.year, each.month, each.day) for year in years for each in _year(place, year))
    return sorted(day for day in found if first <= day < end)


@lru_cache(maxsize=1024)
def _year(place: str, year: int) -> tuple[Any, ...]:
    import holidays

    country, _, part = place.partition("-")
    return tuple(holidays.country_holidays(country, subdiv=part or None, years=year))
