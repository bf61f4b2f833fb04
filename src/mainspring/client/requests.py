"""What a caller asks for, before the database is asked."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, overload

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


class Alike(Sequence[Request]):
    """Requests that are due now, have no keys, and differ in nothing but their payload: one of them, and the payloads of all.
    Read as any list of requests; whoever can do better with them looks inside."""

    __slots__ = ("bodies", "like")

    def __init__(self, like: Request, bodies: Sequence[bytes]) -> None:
        self.like = like
        self.bodies = bodies

    def __len__(self) -> int:
        return len(self.bodies)

    @overload
    def __getitem__(self, place: int) -> Request: ...
    @overload
    def __getitem__(self, place: slice) -> "Alike": ...

    def __getitem__(self, place: int | slice) -> "Request | Alike":
        if isinstance(place, slice):
            return Alike(self.like, self.bodies[place])
        return self.like._replace(body=self.bodies[place])

    def __iter__(self) -> Iterator[Request]:
        return (self.like._replace(body=body) for body in self.bodies)


def with_bodies(like: Request, bodies: Sequence[bytes]) -> Sequence[Request]:
    """Requests like one, each with a payload of its own."""
    return Alike(like, bodies) if _is_plain(like) else [like._replace(body=body) for body in bodies]


def as_alike(requests: Sequence[Request]) -> Alike | None:
    """The same requests, if they are alike as far as can be seen at a glance; a single plain one is."""
    if isinstance(requests, Alike):
        return requests if requests.bodies else None
    if len(requests) == 1 and _is_plain(requests[0]):
        return Alike(requests[0], [requests[0].body])
    return None


def _is_plain(request: Request) -> bool:
    """Whether a run asked for is due now, and there is nothing to judge about it."""
    return (
        request.due_at is None
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
    )
