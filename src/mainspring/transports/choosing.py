"""From a setting to a transport: by URL, by object, or the database's own. Client libraries are imported only when asked for."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from mainspring.errors import ConfigurationInvalid, shown
from mainspring.transports.database import ChangeCounter, ListenNotify
from mainspring.transports.local import LocalTransport
from mainspring.transports.transport import OnHint, Subscription, Transport

AUTO = "auto"
EXAMPLES = 'write "auto" (the database itself), "redis://host:6379/0", "nats://host:4222", or give a Transport'
_METHODS = ("start", "close", "publish", "subscribe")


def native(database: Any) -> Transport:
    """What the database itself has: LISTEN/NOTIFY, the change counter of a file, or nothing beyond this process."""
    if database.capabilities.notify or getattr(database, "is_pooled", False):  # what is sent through a pooler is heard past it
        return ListenNotify(database)
    if hasattr(database, "change_counter"):
        return ChangeCounter(database)
    return LocalTransport()


def open_transport(wanted: "str | Transport", database: Any) -> Transport:
    """The transport that ``wanted`` names, not started yet.

    Raises:
        ConfigurationInvalid: it names none, or what it needs is not installed.
    """
    if not isinstance(wanted, str):
        return _checked(wanted)
    if wanted == AUTO:
        return native(database)
    match urlsplit(wanted).scheme:
        case "redis" | "rediss" | "unix":
            from mainspring.transports.redis import RedisTransport

            return RedisTransport(wanted)
        case "nats" | "tls":
            from mainspring.transports.nats import NatsTransport

            return NatsTransport(wanted)
        case scheme:
            raise ConfigurationInvalid(f"{shown(scheme or wanted)} names no transport; {EXAMPLES}")


def is_silent(transport: Transport) -> bool:
    """Whether a commit says by itself what the transport would: then nothing has to be sent."""
    return isinstance(transport, ChangeCounter)


def listen(
    transport: Transport | None, database: Any, namespace: str, queues: Sequence[str], on_hint: OnHint
) -> Callable[[], None]:
    """Be told of these queues, by ``transport`` or else by the database itself; returns how to stop that."""
    carrier = native(database) if transport is None else transport
    if transport is None:
        carrier.start()
    subscription: Subscription = carrier.subscribe(namespace, queues, on_hint)

    def stop() -> None:
        subscription.close()
        if transport is None:
            carrier.close()

    return stop


def _checked(given: Transport) -> Transport:
    missing = [name for name in _METHODS if not callable(getattr(given, name, None))]
    if missing:
        raise ConfigurationInvalid(f"transport={shown(given)} has no {missing[0]}(); {EXAMPLES}")
    return given
