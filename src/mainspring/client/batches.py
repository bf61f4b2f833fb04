"""Batches from outside a worker: creating them piece by piece, letting members join, looking at them, stopping them."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mainspring.client.handles import BatchHandle, Handle, Member
from mainspring.client.requests import Request
from mainspring.client.writing import write_again
from mainspring.core.dependencies import FiresOn
from mainspring.core.ids import parse_run_id
from mainspring.errors import InvalidOption
from mainspring.operations import batches, views
from mainspring.operations.batches import Fence
from mainspring.operations.creation import NewRun
from mainspring.operations.releasing import BatchRow
from mainspring.store.database import Transaction

if TYPE_CHECKING:
    from mainspring.client.client import Client

T = TypeVar("T")

CHUNK = 1_000
MOST_DEEP = 8
_PIECE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchView:
    """A batch as it stands: of ``total`` members ``open`` have not ended, ``failed`` failed for good, ``stopped`` were cancelled or
    skipped, and the others succeeded. Instants are µs, None where it did not happen."""

    id: str
    total: int
    open: int
    succeeded: int
    failed: int
    stopped: int
    created_at: int
    sealed_at: int | None
    parked_at: int | None
    cancelled_at: int | None

    @property
    def is_over(self) -> bool:
        """Whether nobody can join it and every member has ended."""
        return self.sealed_at is not None and self.open == 0


class Tree(NamedTuple):
    """A batch with batches among its members, before it is created."""

    members: "list[Request | Tree]"
    callbacks: Mapping[FiresOn, Request]
    seal: bool


class _Planned(NamedTuple):
    """A batch of a tree with its ids."""

    id: str
    members: list[NewRun]
    inside: "list[_Planned]"
    callbacks: dict[FiresOn, NewRun]
    seal: bool

    @property
    def member_ids(self) -> list[str]:
        """The runs that are its members: its own, and those that stand for batches."""
        standing = [next(iter(each.callbacks.values())).id for each in self.inside]
        return sorted([*(run.id for run in self.members), *standing])

    def create(self, tx: Transaction, namespace: str, outer_id: str | None = None) -> None:
        """Create it, with all that is inside."""
        batches.create(tx, self.id, self.members, namespace=namespace, callbacks=self.callbacks, seal=False, outer_id=outer_id)
        for each in self.inside:
            each.create(tx, namespace, self.id)
        if self.seal:
            batches.close(tx, self.id, namespace=namespace)


class Batches:
    """Looking at batches, and steering them."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def create(self, members: Iterable[Request], callbacks: Mapping[FiresOn, Request], *, seal: bool = True) -> BatchHandle[Any]:
        """Create a batch, 1,000 members in a transaction; one that fits into the first is created all or nothing.

        A caller that dies in the midst of a larger one leaves a batch that is not sealed: its members run, no callback for its end
        starts, and after a day those need attention.

        Raises:
            InvalidOption: a request with keys or upstreams, or more than 1,000,000 members.
        """
        client, batch_id = self._client, self._client.system.new_id()
        _check(callbacks.values())
        pieces = _chunks(members)
        first = next(pieces, [])
        rest = next(pieces, None)
        client._intern([*first, *callbacks.values()])
        then = {on: client._new_run(request) for on, request in callbacks.items()}
        new = [client._new_run(request) for request in first]
        namespace, alone = client.namespace, seal and rest is None
        self._write(
            "batches.create",
            lambda tx: batches.create(tx, batch_id, new, namespace=namespace, callbacks=then, seal=alone),
        )
        ids = [run.id for run in new]
        for piece in itertools.chain([rest] if rest else [], pieces):
            ids += self._add(batch_id, piece, None)
        if seal and not alone:
            self.seal(batch_id)
        client.tell_work(sorted({request.lane.queue for request in (*first, *callbacks.values())}))
        handles = {on: Handle[Any](client, then[on].id, "created", request.decode) for on, request in callbacks.items()}
        return BatchHandle(batch_id, ids, handles, self)

    def create_tree(self, tree: Tree) -> BatchHandle[Any]:
        """Create a batch with batches among its members, in one transaction. The first callback of each inner one is a member of
        the outer one, and stands for it.

        Raises:
            InvalidOption: deeper than 8, more than 1,000 runs, or a request with keys or upstreams; nothing was created.
        """
        client = self._client
        requests = list(_requests_of(tree))
        if len(requests) > CHUNK:
            raise InvalidOption(f"{len(requests):,} runs in batches inside a batch; {CHUNK:,} in all is the most", option="members")
        _check(requests)
        client._intern(requests)
        planned = self._planned(tree)
        self._write("batches.create", lambda tx: planned.create(tx, client.namespace))
        client.tell_work(sorted({request.lane.queue for request in requests}))
        then = planned.callbacks
        handles = {on: Handle[Any](client, then[on].id, "created", request.decode) for on, request in tree.callbacks.items()}
        return BatchHandle(planned.id, planned.member_ids, handles, self)

    def _planned(self, tree: Tree) -> _Planned:
        client = self._client
        batch_id, members, inside = client.system.new_id(), list[NewRun](), list[_Planned]()
        for each in tree.members:  # ids in this order, for it is the order of members
            if isinstance(each, Tree):
                inside.append(self._planned(each))
            else:
                members.append(client._new_run(each))
        callbacks = {on: client._new_run(request) for on, request in tree.callbacks.items()}
        return _Planned(batch_id, members, inside, callbacks, tree.seal)

    def add(self, batch_id: str, members: Iterable[Any], *, fence: Fence | None = None) -> list[str]:
        """Let more members (calls) join a batch that is open, 1,000 in a transaction; their ids in order. ``fence``: on behalf of
        an attempt at a member, as long as that holds its lease.

        Raises:
            UnknownRun: no such batch. InvalidOption: it is sealed. LeaseLost: of ``fence``.
        """
        named = parse_run_id(batch_id)
        return [run_id for piece in _chunks(_requests(members)) for run_id in self._add(named, piece, fence)]

    def seal(self, batch_id: str) -> None:
        """Nobody joins from now on: its callbacks start when the last member has ended. A second call changes nothing.

        Raises:
            UnknownRun: no such batch.
        """
        named = parse_run_id(batch_id)
        self._write("batches.seal", lambda tx: batches.close(tx, named, namespace=self._client.namespace))

    def cancel(self, batch_id: str, *, reason: str | None = None) -> None:
        """Cancel every member that has not ended, also of batches inside, a hundred in a transaction; nobody joins any more.
        Callbacks for ``done`` still run. If this call is cut off, a worker goes on with it.

        Raises:
            UnknownRun: no such batch.
        """
        client, named = self._client, parse_run_id(batch_id)
        marked: list[str] = self._write("batches.cancel", lambda tx: batches.cancel(tx, named, namespace=client.namespace))
        for each in marked:
            after = batches.FIRST_ID
            while after:
                after = self._write(
                    "batches.cancel_some",
                    lambda tx, of=each, at=after: (
                        batches.cancel_some(tx, of, at, most=_PIECE, actor=client.actor, reason=reason) or ""
                    ),
                )

    def get(self, batch_id: str) -> BatchView:
        """A batch as it stands.

        Raises:
            UnknownRun: no such batch.
        """
        named, client = parse_run_id(batch_id), self._client
        row: BatchRow = client.database.read("batches.get", lambda tx: batches.get(tx, named, namespace=client.namespace))
        return BatchView(
            id=row.id,
            total=row.total,
            open=row.open,
            succeeded=row.total - row.open - row.failed - row.stopped,
            failed=row.failed,
            stopped=row.stopped,
            created_at=row.created_at,
            sealed_at=row.sealed_at,
            parked_at=row.parked_at,
            cancelled_at=row.cancelled_at,
        )

    def members(self, batch_id: str) -> Iterator[Member]:
        """The members of a batch in member order, with their results."""
        client, after = self._client, ""
        while True:
            page: list[views.Ending] = client.database.read(
                "batches.members", lambda tx, at=after: views.batch_members(tx, batch_id, after=at or None)
            )
            yield from (Member(end.run_id, end.state, client._result(end)) for end in page)
            if len(page) < views.MOST:
                return
            after = page[-1].run_id

    def of_callback(self, run_id: str) -> str | None:
        """The batch for which a run waits, or waited."""
        row = self._client.database.read("batches.of_callback", lambda tx: tx.one("batches.of_callback", run_id=run_id))
        return None if row is None else str(row[0])

    def _add(self, batch_id: str, piece: Sequence[Request], fence: Fence | None) -> list[str]:
        client = self._client
        client._intern(piece)
        new = [client._new_run(request) for request in piece]
        namespace = client.namespace
        self._write("batches.add", lambda tx: batches.add(tx, batch_id, new, namespace=namespace, fence=fence))
        client.tell_work(sorted({request.lane.queue for request in piece}))
        return [run.id for run in new]

    def _write(self, name: str, fn: Any) -> Any:
        return write_again(self._client.database, name, fn)


class JoinedBatch:
    """The batch of a member that is running now, as its context has it."""

    def __init__(self, batches_: Batches, batch_id: str, fence: Fence) -> None:
        self._batches = batches_
        self._fence = fence
        self.id = batch_id

    def add(self, members: Iterable[Any]) -> list[str]:
        """Let more calls join; their ids in order.

        Raises:
            InvalidOption: it is sealed. LeaseLost: the run belongs to a newer attempt by now.
        """
        return self._batches.add(self.id, members, fence=self._fence)

    def seal(self) -> None:
        """Nobody joins from now on."""
        self._batches.seal(self.id)


def _requests(members: Iterable[Any]) -> Iterator[Request]:
    """The requests of calls, as they come."""
    return (member if isinstance(member, Request) else member.request for member in members)


def _requests_of(tree: Tree) -> Iterator[Request]:
    """Every request of a tree."""
    for each in tree.members:
        if isinstance(each, Tree):
            yield from _requests_of(each)
        else:
            yield each
    yield from tree.callbacks.values()


def _chunks(members: Iterable[Request]) -> Iterator[list[Request]]:
    source = iter(members)
    while piece := list(itertools.islice(source, CHUNK)):
        _check(piece)
        yield piece


def _check(requests: Iterable[Request]) -> None:
    for request in requests:
        if request.key or request.singleton:
            raise InvalidOption("members and callbacks of a batch take no keys; enqueue keyed runs by themselves", option="key")
        if request.after:
            raise InvalidOption("members and callbacks of a batch wait for nobody else; leave after= out", option="after")
