"""The composition root of a control plane process: one database, clients for whoever asks, and what goes on beside them.

A node never imports user code. It makes passes of maintenance as every worker does, carries out acts on many runs, and sends hints
of new work. Not here: what is served to whom (``web``), and workers (``app``).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import ExitStack
from typing import Any

from mainspring.client import Client
from mainspring.core.lease import DEFAULT_TTL
from mainspring.runtime.carrying import Carrying
from mainspring.runtime.driver import Bell, Driver
from mainspring.runtime.maintenance import Maintenance
from mainspring.store.opening import open_database, ready
from mainspring.system import RealSystem, System, process_name
from mainspring.telemetry.metrics import Measured, Metrics
from mainspring.transports import Notifier, Transport, is_silent, open_transport

_MOST_CLIENTS = 256


class Node:
    """A process of the control plane. ``with Node(url) as node`` opens and closes it.

    ``upkeep`` False: it makes no passes of maintenance, and leaves them to others.

    Raises:
        SchemaOlder, SchemaNewer: the database is not of this code's schema. StorageUnavailable: it cannot be reached.
    """

    def __init__(
        self,
        database: str | Any,
        *,
        namespace: str = "default",
        transport: str | Transport = "auto",
        upkeep: bool = True,
        metrics: bool = True,
        system: System | None = None,
    ) -> None:
        self.namespace = namespace
        self.system = system or RealSystem()
        self.name = process_name()
        self._wanted = database
        self._wanted_transport = transport
        self._upkeep = upkeep
        self._counts = metrics
        self._opened = ExitStack()
        self._clients: OrderedDict[tuple[str, str], Client] = OrderedDict()
        self._notifiers: dict[str, Notifier] = {}
        self._lock = threading.Lock()
        self._driver = Driver()
        self._carrying = Carrying()
        self._bell: Bell | None = None
        self._transport: Transport | None = None
        self.database: Any = None
        self.metrics: Metrics | None = None

    def __enter__(self) -> Node:
        try:
            self._open()
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def client(self, namespace: str, actor: str) -> Client:
        """The client of somebody in a namespace."""
        with self._lock:
            known = self._clients.get((namespace, actor))
            if known is None:
                known = self._clients[namespace, actor] = self._new_client(namespace, actor)
                if len(self._clients) > _MOST_CLIENTS:
                    self._clients.popitem(last=False)
            self._clients.move_to_end((namespace, actor))
            return known

    def carry_out(self, client: Client, act_id: str) -> None:
        """Carry out an act on many runs that was written down, beside everything else."""
        self._carrying.add(client, act_id)
        if self._bell is not None:
            self._bell.ring()

    def _open(self) -> None:
        opened = self._wanted
        if isinstance(opened, str):
            opened = open_database(opened, clock=self.system.now)
            self._opened.callback(opened.close)
            ready(opened)
        self.database = opened
        if self._counts:
            self.metrics = Metrics(lambda: self.database, self.namespace)
            self.database = Measured(opened, self.metrics)
        transport = open_transport(self._wanted_transport, opened)
        transport.start()
        self._opened.callback(transport.close)
        self._transport = None if is_silent(transport) else transport
        self._opened.callback(self._close_notifiers)
        self._opened.callback(self._driver.close)
        if self._upkeep:
            self._driver.start(self._maintenance())
        self._bell = self._driver.start(self._carrying)

    def _maintenance(self) -> Maintenance:
        return Maintenance(
            self.database, system=self.system, ttl_us=DEFAULT_TTL, actor=f"server:{self.name}", on_due=lambda: None,
            metrics=self.metrics,
        )  # fmt: skip

    def _new_client(self, namespace: str, actor: str) -> Client:
        client = Client(self.database, namespace=namespace, system=self.system, actor=actor)
        client.metrics = self.metrics
        if self._transport is not None:
            notifier = self._notifiers.get(namespace)
            if notifier is None:
                notifier = self._notifiers[namespace] = Notifier(self._transport, namespace, now=self.system.now)
            client.after_commit(notifier.work)
        return client

    def _close_notifiers(self) -> None:
        for notifier in self._notifiers.values():
            notifier.close()
