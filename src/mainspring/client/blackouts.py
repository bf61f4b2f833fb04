"""Blackouts: windows of time in which schedules do not fire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mainspring.client.specs import rule_of
from mainspring.client.writing import write_again
from mainspring.core.blackouts import read_blackout
from mainspring.core.durations import Duration, format_instant, parse_instant
from mainspring.core.names import check_name
from mainspring.core.rules import Rule, as_data
from mainspring.operations import blackouts
from mainspring.operations.blackouts import BlackoutView
from mainspring.zones import zone

if TYPE_CHECKING:
    from mainspring.client.client import Client


class Blackouts:
    """Windows in which the schedules of this namespace, or some of them, do not fire."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def put(
        self,
        name: str,
        first: datetime | str | None = None,
        end: datetime | str | None = None,
        *,
        rule: Rule | Mapping[str, Any] | None = None,
        length: Duration | None = None,
        policy: str,
        schedules: Sequence[str] = (),
        attributes: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> BlackoutView:
        """Let nothing fire from ``first`` to before ``end``, or for a ``length`` from each instant of a ``rule``: what is due
        inside ends as ``blackout`` (``policy="skip"``), or is settled together at the end, as late (``"defer"``). Over all
        schedules of the namespace, those named (``etl/*``: all that begin so), or those with ``attributes``.

        Raises:
            RuleInvalid: with everything that is wrong.
        """
        window = {"from": _instant(first, "first"), "to": _instant(end, "end"), "for": length}
        said = None if rule is None else as_data(rule_of(rule))
        data = {**window, "rule": said, "policy": policy, "schedules": list(schedules), "attributes": attributes, "reason": reason}
        return self.put_data(name, {key: value for key, value in data.items() if value})

    def put_data(self, name: str, data: Mapping[str, Any]) -> BlackoutView:
        """``put`` of a blackout as JSON or YAML has it: ``from`` and ``to``, or ``rule`` and ``for``.

        Raises:
            RuleInvalid: with everything that is wrong.
        """
        check_name(name, "name")
        wanted, client = read_blackout(data, is_zone=lambda each: zone(each) is not None), self._client
        made = write_again(
            client.database,
            "blackouts.put",
            lambda tx: blackouts.put(tx, name, wanted, namespace=client.namespace, actor=client.actor),
        )
        client.tell_work([])
        return made

    def get(self, name: str) -> BlackoutView:
        """A blackout as it is now, with the schedules it is over.

        Raises:
            UnknownBlackout: there is none of that name.
        """
        namespace = self._client.namespace
        found: BlackoutView = self._client.database.read("blackouts.get", lambda tx: blackouts.get(tx, name, namespace=namespace))
        return found

    def list(self) -> list[BlackoutView]:
        """All of this namespace, by name."""
        namespace = self._client.namespace
        found: list[BlackoutView] = self._client.database.read(
            "blackouts.list", lambda tx: blackouts.listing(tx, namespace=namespace)
        )
        return found

    def delete(self, name: str) -> None:
        """End a blackout. What it ended stays so; what it deferred is settled by the misfire policy.

        Raises:
            UnknownBlackout: there is none of that name.
        """
        client = self._client
        write_again(
            client.database,
            "blackouts.delete",
            lambda tx: blackouts.delete(tx, name, namespace=client.namespace, actor=client.actor),
        )
        client.tell_work([])


def _instant(given: datetime | str | None, option: str) -> str | None:
    return None if given is None else format_instant(parse_instant(given, option=option))
