"""Workers from outside: a page of them, and one."""

from typing import TYPE_CHECKING, TypeAlias

from mainspring.operations import views

if TYPE_CHECKING:
    from mainspring.client.client import Client

Workers: TypeAlias = list[views.WorkerView]


class Fleet:
    """Looking at the workers of a namespace."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def page(self, *, state: str = "", limit: int = 50, cursor: str | None = None) -> Workers:
        """Workers by id, after ``cursor``; with ``state`` those that are ``live`` or ``gone``."""
        most, after, namespace = views.bound_page(limit), cursor or "", self._client.namespace
        found: Workers = self._client.database.read(
            "workers.page", lambda tx: views.workers_page(tx, namespace, state=state, after=after, most=most)
        )
        return found

    def get(self, worker_id: str) -> views.WorkerView:
        """One worker.

        Raises:
            UnknownWorker: there is none in this namespace.
        """
        namespace = self._client.namespace
        found: views.WorkerView = self._client.database.read("workers.get", lambda tx: views.worker(tx, namespace, worker_id))
        return found
