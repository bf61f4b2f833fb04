"""Alerts of schedules: what is wrong, and what was."""

from typing import TYPE_CHECKING

from mainspring.operations import alerting
from mainspring.operations.alerting import Alert

if TYPE_CHECKING:
    from mainspring.client.client import Client

_PAGE = 100


class AlertLog:
    """Episodes in which something was wrong with a schedule of this namespace."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(
        self, *, schedule: str | None = None, only_open: bool = False, before: str | None = None, limit: int = _PAGE
    ) -> list[Alert]:
        """Alerts, the newest first, from the one behind the id ``before``; of one ``schedule``, or only those that are open."""
        client = self._client
        found: list[Alert] = client.database.read(
            "alerts.list",
            lambda tx: alerting.listing(
                tx, namespace=client.namespace, schedule=schedule, only_open=only_open, before=before, most=limit
            ),
        )
        return found
