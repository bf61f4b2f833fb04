"""What a database promises to those who use it, as flags. A promise is kept by the suites of ``tests/conformance``; what a flag
denies is refused before any effect (``capability_unsupported``), and never half emulated."""

from dataclasses import asdict, dataclass
from typing import Any

from mainspring.errors import CapabilityUnsupported


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """``durable``: what was committed survives the process. ``process_local``: only this process reaches it, as in memory.
    ``notify``: the server itself carries hints. ``skip_locked``: claims pass over what others are at. ``partitions``: the ledger
    is kept in parts. ``lends_connections``: ``app.connection()``. The others name what the library does on it."""

    durable: bool
    process_local: bool
    transactional_enqueue: bool
    leases: bool
    idempotency: bool
    singleton: bool
    limits: bool
    occurrences: bool
    deliveries: bool
    reads_history: bool
    prunes: bool
    skip_locked: bool
    notify: bool
    partitions: bool
    lends_connections: bool

    def require(self, name: str, instead: str) -> None:
        """Refuse what needs a promise that is not given; ``instead`` says what to do.

        Raises:
            CapabilityUnsupported: it is not given.
        """
        if not getattr(self, name):
            raise CapabilityUnsupported(f"this database does not promise {name}: {instead}", capability=name)

    def as_data(self) -> dict[str, bool]:
        """Flags by name."""
        return asdict(self)


def promises(database: Any) -> Promises:
    """What an open database promises."""
    can, in_memory = database.capabilities, getattr(database, "path", None) == ":memory:"
    return Promises(
        durable=not in_memory,
        process_local=in_memory,
        transactional_enqueue=True,
        leases=True,
        idempotency=True,
        singleton=True,
        limits=True,
        occurrences=False,
        deliveries=True,
        reads_history=True,
        prunes=True,
        skip_locked=can.skip_locked,
        notify=can.notify,
        partitions=False,
        lends_connections=hasattr(database, "exclusive"),
    )
