"""What a client offers beside creating runs and looking at them, each part imported at its first use: together they take longer to
import than all the rest, and a program that enqueues needs none of them."""

from functools import cached_property
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from mainspring.client.alerts import AlertLog
    from mainspring.client.api_tokens import ApiTokens
    from mainspring.client.audit import Audit
    from mainspring.client.blackouts import Blackouts
    from mainspring.client.calendars import Calendars
    from mainspring.client.client import Client
    from mainspring.client.dead_letters import DeadLetters
    from mainspring.client.fleet import Fleet
    from mainspring.client.holds import Holds
    from mainspring.client.logins import Logins
    from mainspring.client.schedule_files import ScheduleFiles
    from mainspring.client.schedules import Schedules
    from mainspring.client.users import Users
    from mainspring.client.webhooks import Webhooks


class Facets:
    """The parts of a ``Client`` that are made when somebody asks for them."""

    @cached_property
    def schedules(self) -> "Schedules":
        """Looking at schedules, and steering them."""
        from mainspring.client.schedules import Schedules

        return Schedules(self._whole)

    @cached_property
    def schedule_files(self) -> "ScheduleFiles":
        """Schedules from files: diff, apply, export."""
        from mainspring.client.schedule_files import ScheduleFiles

        return ScheduleFiles(self._whole)

    @cached_property
    def blackouts(self) -> "Blackouts":
        """Windows of time in which schedules do not fire."""
        from mainspring.client.blackouts import Blackouts

        return Blackouts(self._whole)

    @cached_property
    def calendars(self) -> "Calendars":
        """Named sets of days with hours, which rules use."""
        from mainspring.client.calendars import Calendars

        return Calendars(self._whole)

    @cached_property
    def holds(self) -> "Holds":
        """What is held back since the database was restored, and deciding about it."""
        from mainspring.client.holds import Holds

        return Holds(self._whole)

    @cached_property
    def alerts(self) -> "AlertLog":
        """What is wrong with schedules, and what was."""
        from mainspring.client.alerts import AlertLog

        return AlertLog(self._whole)

    @cached_property
    def webhooks(self) -> "Webhooks":
        """Who is told of alerts."""
        from mainspring.client.webhooks import Webhooks

        return Webhooks(self._whole)

    @cached_property
    def fleet(self) -> "Fleet":
        """Looking at the workers."""
        from mainspring.client.fleet import Fleet

        return Fleet(self._whole)

    @cached_property
    def dead_letters(self) -> "DeadLetters":
        """Runs that used up a budget: looking at them, replaying and dismissing them."""
        from mainspring.client.dead_letters import DeadLetters

        return DeadLetters(self._whole)

    @cached_property
    def api_tokens(self) -> "ApiTokens":
        """Tokens for the HTTP API: made, looked at, revoked."""
        from mainspring.client.api_tokens import ApiTokens

        return ApiTokens(self._whole)

    @cached_property
    def users(self) -> "Users":
        """People who may log in."""
        from mainspring.client.users import Users

        return Users(self._whole)

    @cached_property
    def logins(self) -> "Logins":
        """Logging in, staying so, and being logged out."""
        from mainspring.client.logins import Logins

        return Logins(self._whole)

    @cached_property
    def audit(self) -> "Audit":
        """What people and programs did to this database, in a chain that tells if it was touched."""
        from mainspring.client.audit import Audit

        return Audit(self._whole)

    @property
    def _whole(self) -> "Client":
        return cast("Client", self)
