"""What is held back since the database was restored, and deciding about it."""

from typing import TYPE_CHECKING

from mainspring.client.writing import write_again
from mainspring.core.names import check_text
from mainspring.errors import InvalidOption, shown
from mainspring.operations import holds
from mainspring.operations.holds import Hold, OnHeld

if TYPE_CHECKING:
    from mainspring.client.client import Client

_PAGE = 100


class Holds:
    """Schedules that were due between a backup and its restore. Nothing of them fires until somebody decides."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(self, *, after: str = "", limit: int = _PAGE) -> list[Hold]:
        """Held schedules of this namespace by name, from the one behind ``after``."""
        client = self._client
        found: list[Hold] = client.database.read(
            "holds.list", lambda tx: holds.listing(tx, namespace=client.namespace, after=after, most=limit)
        )
        return found

    def decide(self, name: str | None = None, *, policy: str, reason: str) -> int:
        """Decide for one schedule, or for all that are held in this namespace; for how many. Under ``policy`` what was held is
        settled as late, by the misfire policy of each; under ``suppress`` none of it runs. The ledger names who decided.

        Raises:
            UnknownSchedule: there is none of that name. InvalidOption: another policy, a blank reason.
        """
        if policy not in set(OnHeld):
            raise InvalidOption(f"policy must be one of {', '.join(OnHeld)}, not {shown(policy)}", option="policy")
        from mainspring.operations import schedules  # rules take a while to import, and many programs have none

        if not check_text(reason, "reason").strip():
            raise InvalidOption("reason must say why, in words", option="reason")
        wanted, client = OnHeld(policy), self._client

        def decided(name: str) -> bool:
            return write_again(
                client.database,
                "holds.decide",
                lambda tx: schedules.decide(tx, name, wanted, namespace=client.namespace, actor=client.actor, reason=reason),
            )

        if name is not None:
            return int(decided(name))
        number, after = 0, ""
        while page := self.list(after=after):
            number += sum(decided(each.name) for each in page)
            after = page[-1].name
        client.tell_work([])
        return number

    def restored(self) -> int:
        """Say that this database was restored from a backup, in all its namespaces: how many schedules are held. A planner that
        remembers more than the database does says so itself."""
        client, incarnation = self._client, self._client.system.new_id()
        return write_again(client.database, "holds.restored", lambda tx: holds.restored(tx, incarnation, actor=client.actor))
