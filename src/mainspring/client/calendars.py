"""Calendars: named sets of days with hours, put once and used by the rules of many schedules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from mainspring import public_holidays
from mainspring.client.specs import check_whole
from mainspring.client.writing import write_again
from mainspring.core.calendar_reading import read_calendar
from mainspring.core.names import check_name
from mainspring.operations import calendars
from mainspring.operations.calendars import CalendarView

if TYPE_CHECKING:
    from mainspring.client.client import Client
    from mainspring.store.database import Transaction

_PAGE = 100
_MOST_PAGE = 500


class Put(NamedTuple):
    """A calendar as it was put, and the names of the schedules that are planned again for it."""

    calendar: CalendarView
    affected: tuple[str, ...]


class Calendars:
    """Named sets of days with hours. A change has the schedules that use one planned again; what was decided stays."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def put(
        self,
        name: str,
        *,
        dates: Sequence[str | date] | None = None,
        hours: Sequence[Mapping[str, str]] | None = None,
        holidays: Sequence[str] | None = None,
        calendars: Sequence[str] | None = None,
        without: Mapping[str, Any] | None = None,
    ) -> Put:
        """Make a calendar of these days, whole ones, and of weekly ``hours`` (``{"days": "mon-fri", "from": "09:00", "until":
        "17:00"}``), ``without`` the days that its ``dates``, ``holidays`` and ``calendars`` say. ``holidays`` are the public ones
        of places such as ``DE`` or ``DE-BE`` (the extra ``calendars``); of another calendar every day is taken whole that has any
        hour. Both are expanded two years ahead, and anew each year.

        Raises:
            RuleInvalid: with everything that is wrong. ChangedMeanwhile: somebody else made it at the same time.
        """
        given = {"dates": dates, "hours": hours, "holidays": holidays, "calendars": calendars, "without": without}
        return self.put_data(name, {key: _plain(value) for key, value in given.items() if value is not None})

    def put_data(self, name: str, data: Mapping[str, Any]) -> Put:
        """``put`` of a calendar as JSON or YAML has it.

        Raises:
            RuleInvalid: with everything that is wrong. ChangedMeanwhile: somebody else made it at the same time.
        """
        check_name(name, "name")
        spec, client = read_calendar(data, holiday_problem=public_holidays.problem), self._client

        def act(tx: Transaction) -> Put:
            made = calendars.put(tx, name, spec, namespace=client.namespace, actor=client.actor)
            return Put(made, tuple(sorted(calendars.users(tx, name, namespace=client.namespace).values())))

        made = write_again(client.database, "calendars.put", act)
        client.tell_work([])
        return made

    def get(self, name: str) -> Put:
        """A calendar as it is now, and the schedules whose rules name it.

        Raises:
            UnknownCalendar: there is none of that name.
        """
        namespace = self._client.namespace

        def look(tx: Transaction) -> Put:
            found = calendars.get(tx, name, namespace=namespace)
            return Put(found, tuple(sorted(calendars.users(tx, name, namespace=namespace).values())))

        found: Put = self._client.database.read("calendars.get", look)
        return found

    def list(self, *, after: str = "", limit: int = _PAGE) -> list[CalendarView]:
        """Calendars by name, from the one behind ``after``."""
        most = check_whole(limit, "limit", 1, _MOST_PAGE)
        found: list[CalendarView] = self._client.database.read(
            "calendars.list", lambda tx: calendars.listing(tx, namespace=self._client.namespace, after=after, most=most)
        )
        return found

    def delete(self, name: str) -> None:
        """Free its name.

        Raises:
            UnknownCalendar: there is none of that name. CalendarInUse: a schedule or another calendar is made with it.
        """
        client = self._client
        write_again(
            client.database,
            "calendars.delete",
            lambda tx: calendars.delete(tx, name, namespace=client.namespace, actor=client.actor),
        )


def _plain(value: Any) -> Any:
    """Dates as texts."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value
