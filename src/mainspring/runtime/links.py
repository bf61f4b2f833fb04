"""What an app has open besides its database: the transport of its hints, and the transports of its queues' deliveries.

They start after the storage and close before it; if one of them cannot start, those that did are closed again. Not here: the
storage itself (``app``).
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from mainspring.client import Client
from mainspring.core.durations import Duration, parse_duration
from mainspring.errors import InvalidOption
from mainspring.operations import deliveries
from mainspring.operations.deliveries import Dispatch
from mainspring.runtime.relay import Relay
from mainspring.transports import Notifier, Transport, is_silent, open_transport

_DISPATCHES = ("eager", "deferred")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivering:
    """How the runs of a queue are told of: by which transport, when, and for how long a slot is kept for each (µs)."""

    by: str | Transport
    dispatch: Dispatch
    timeout: int | None

    @classmethod
    def checked(cls, queue: str, by: str | Transport, dispatch: str, timeout: Duration | None, *, is_limited: bool) -> "Delivering":
        """What ``App.queue`` was given.

        Raises:
            InvalidOption: naming the option and what to write.
        """
        if dispatch not in _DISPATCHES:
            raise InvalidOption(f"dispatch must be one of {', '.join(_DISPATCHES)}, not {dispatch!r}", option="dispatch")
        lasts = None if timeout is None else parse_duration(timeout, option="dispatch_timeout")
        if lasts is not None and not is_limited:
            raise InvalidOption(
                f"dispatch_timeout= of queue {queue!r} keeps a slot of its limit; give limit= too", option="dispatch_timeout"
            )
        return cls(by=by, dispatch="eager" if dispatch == "eager" else "deferred", timeout=lasts)


class Links:
    """Everything of this kind that one app has open."""

    def __init__(self, client: Client, wanted: str | Transport, delivering: Mapping[str, Delivering]) -> None:
        self._client = client
        with ExitStack() as opened:
            hints = _started(open_transport(wanted, client.database), opened)
            if not is_silent(hints):
                notifier = Notifier(hints, client.namespace, now=client.system.now)
                opened.callback(notifier.close)
                client.after_commit(notifier.work)
            client.transport = hints
            if delivering:
                client.relay = self._open_relay(delivering, opened)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Send what is pending, and close everything."""
        self._opened.close()

    def _open_relay(self, delivering: Mapping[str, Delivering], opened: ExitStack) -> Relay:
        client = self._client
        by: dict[Any, Transport] = {}
        for each in delivering.values():
            key = each.by if isinstance(each.by, str) else id(each.by)
            if key not in by:
                by[key] = _started(open_transport(each.by, client.database), opened)
        client.database.write("deliveries.declare", lambda tx: _declare(tx, client.namespace, delivering))
        client.delivering = None  # asked anew with the next enqueue
        return Relay(
            client.database,
            client.namespace,
            {queue: by[each.by if isinstance(each.by, str) else id(each.by)] for queue, each in delivering.items()},
            system=client.system,
        )


def _started(transport: Transport, opened: ExitStack) -> Transport:
    transport.start()
    opened.callback(transport.close)
    return transport


def _declare(tx: Any, namespace: str, delivering: Mapping[str, Delivering]) -> None:
    for queue, each in sorted(delivering.items()):
        deliveries.declare(tx, namespace, queue, dispatch=each.dispatch, dispatch_timeout=each.timeout)
