"""Webhooks: who is told of alerts, by signed requests that are tried again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainspring.client.specs import Reading, read_kinds
from mainspring.client.targeting import judged
from mainspring.client.writing import write_again
from mainspring.core.alerts import Kind
from mainspring.core.lanes import Lane
from mainspring.core.names import check_name
from mainspring.operations import webhooks
from mainspring.operations.creation import policy_row
from mainspring.operations.webhooks import FIELDS, Order, Webhook

if TYPE_CHECKING:
    from mainspring.client.client import Client


class Webhooks:
    """Who is told of the alerts of this namespace."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def put(
        self, name: str, url: str, *, kinds: Sequence[str] | None = None, secret: str | None = None, queue: str = "default"
    ) -> Webhook:
        """Send a POST to ``url`` when an alert of ``kinds`` (None: any) opens or recovers, from now on. ``secret`` names the key
        that signs it, as targets name theirs. Whatever serves ``queue`` sends it.

        Raises:
            ScheduleInvalid, InvalidOption: naming what cannot be. TargetInvalid: the same of the URL. TargetRefused: the rule by
                which this process sends nothing there.
        """
        reading = Reading()
        reading.tried("name", name, lambda: check_name(name, "name"), name)
        reading.tried("queue", queue, lambda: check_name(queue, "queue"), "default")
        wanted = set(Kind) if kinds is None else read_kinds(reading, "kinds", kinds)
        reading.check()
        body = {"json": {field: f"{{{{ payload./{field} }}}}" for field in FIELDS}}
        said = {"method": "POST", "url": url, "body": body} | ({} if secret is None else {"signing": [{"secret": secret}]})
        client = self._client
        target = judged(client, {"http": said}, None)
        lane = Lane(namespace=client.namespace, queue=queue, task=target.kind)
        order = Order(lane, policy_row(target.policy), target.body)
        return write_again(
            client.database,
            "webhooks.put",
            lambda tx: webhooks.put(tx, name, sorted(wanted), order, namespace=client.namespace, actor=client.actor),
        )

    def list(self) -> list[Webhook]:
        """The webhooks of this namespace, by name."""
        client = self._client
        found: list[Webhook] = client.database.read("webhooks.list", lambda tx: webhooks.listing(tx, namespace=client.namespace))
        return found

    def delete(self, name: str) -> bool:
        """Tell it nothing more; whether there was one. What is under way is still sent."""
        client = self._client
        return write_again(
            client.database,
            "webhooks.delete",
            lambda tx: webhooks.delete(tx, name, namespace=client.namespace, actor=client.actor),
        )
