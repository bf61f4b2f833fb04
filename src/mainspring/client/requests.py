"""What a caller asks for, before the database is asked."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mainspring import codec
from mainspring.core.debounce import Debounce, OnSingleton
from mainspring.core.dependencies import Condition
from mainspring.core.lanes import Lane
from mainspring.store.database import Capabilities


class Request(NamedTuple):
    """One run somebody wants: everything that is decided before the database is asked."""

    lane: Lane
    policy: tuple[int, str]
    body: bytes
    due_at: int | None = None
    delay: int = 0
    key: str | None = None
    key_ttl: int = 0
    singleton: str | None = None
    deadline_at: int | None = None
    deadline_in: int | None = None
    expires_at: int | None = None
    expires_in: int | None = None
    decode: Callable[[bytes], Any] = codec.decode_json
    run_id: str | None = None  # chosen before: by an outbox, or where others of the same call speak of it
    attributes: tuple[tuple[str, str], ...] = ()
    on_singleton: OnSingleton = "existing"
    debounce: Debounce | None = None
    after: tuple[tuple[str, Condition], ...] = ()


def check_promises(given: Capabilities, requests: Sequence[Request], using: Any = None) -> None:
    """Refuse what the database does not promise, before anything is written.

    Raises:
        CapabilityUnsupported: naming the promise and what to leave out.
    """
    if using is not None:
        given.require(
            "transactional_enqueue", "leave using= out, and enqueue after your commit; or write to app.outbox(connection)"
        )
    if not given.idempotency and any(request.key is not None for request in requests):
        given.require("idempotency", "leave key= out")
    if not given.singleton and any(request.singleton is not None for request in requests):
        given.require("singleton", "leave singleton= out")


def are_alike(requests: Sequence[Request]) -> bool:
    """Whether the runs asked for are due now, have no keys, and differ in nothing but their payload."""
    if not requests:
        return False
    lane, policy = requests[0].lane, requests[0].policy
    return all(
        request.lane is lane
        and request.policy is policy
        and request.due_at is None
        and request.delay == 0
        and request.key is None
        and request.singleton is None
        and request.run_id is None
        and request.deadline_at is None
        and request.deadline_in is None
        and request.expires_at is None
        and request.expires_in is None
        and not request.attributes
        and not request.after
        for request in requests
    )
