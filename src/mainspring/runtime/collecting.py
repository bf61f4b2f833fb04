"""Tasks that get their runs many at a time (``collect=``): who goes together, when, and what the one call means for each.

Each member is an attempt of its own, with its lease, its time and its outcome; only the call of user code is shared. A group takes
one place of its worker. Here too: ``Company``, which claims more of the same for a group that has room. Not here: when an attempt
begins and is stopped (``executor``).
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from mainspring.context import Context
from mainspring.core.attempts import Outcome, Stopped, Unstarted, Unworkable
from mainspring.core.collecting import Collect, goes_alone
from mainspring.core.lanes import Lane
from mainspring.core.signals import TaskSignal
from mainspring.errors import InvalidOption, PayloadInvalid
from mainspring.operations import claims
from mainspring.operations.claims import Claim, Claimed, Claimer, Walk
from mainspring.registry import TaskSpec
from mainspring.runtime.outcomes import raised, returned
from mainspring.store.database import Transaction

if TYPE_CHECKING:
    from mainspring.runtime.attempt import Attempt
    from mainspring.runtime.worker import Assignment

_MOST_WANTS = 8


class Kind(NamedTuple):
    """What the members of a group have in common."""

    task: str
    key: str | None


class Raised(NamedTuple):
    """An exception on its way out of a thread."""

    error: BaseException


#: Runs a call of user code where it belongs: on the loop, or in a thread.
Run = Callable[["Group", Callable[[], Any]], Any]


class Collecting:
    """The groups of one executor. In its event loop, except where said."""

    def __init__(self, kinds: Mapping[str, Collect], run: Run) -> None:
        self.kinds = kinds
        self._run = run
        self._forming: dict[Kind, Group] = {}
        self._members = 0
        self._coming: dict[tuple[str, int], Kind] = {}
        self._groups: set[Group] = set()

    @property
    def surplus(self) -> int:
        """How many attempts take no place, since they share one. From any thread."""
        return self._members - len(self._groups)

    def takes(self, claimed: Claimed, lane: Lane) -> bool:
        """Whether a group waits for this one: then it needs no place of its own."""
        return not _alone(claimed) and self._kind(lane) in self._forming

    def _kind(self, lane: Lane) -> Kind | None:
        collect = self.kinds.get(lane.task)
        return None if collect is None else Kind(lane.task, lane.concurrency_key if collect.by == "key" else None)

    def expect(self, claims: Sequence["Assignment"]) -> None:
        """These are on their way to their groups. From the worker's thread."""
        for claimed, lane, *_ in claims:
            if (kind := self._kind(lane)) is not None and not _alone(claimed):
                self._coming[claimed.id, claimed.token] = kind

    def arrived(self, claims: Sequence["Assignment"]) -> None:
        """And here they are."""
        for claimed, *_ in claims:
            self._coming.pop((claimed.id, claimed.token), None)

    def admit(self, attempt: "Attempt") -> None:
        """Give an attempt its place in a group."""
        group = attempt.company = self._group_of(attempt)
        group.places[attempt] = asyncio.get_running_loop().create_future()
        self._members += 1
        if len(group.places) >= group.size:
            self._begin(group)

    async def join(self, attempt: "Attempt") -> Outcome:
        """Wait for company, have all of them run, and say what that means for this one."""
        group = attempt.company
        assert group is not None
        group.is_readable.add(attempt)
        group.look()
        place = group.places[attempt]
        try:
            while True:
                try:
                    outcome: Outcome = await asyncio.shield(place)
                    return outcome
                except asyncio.CancelledError:
                    if not group.goes_on_without(attempt):
                        raise
        finally:
            self.leave(attempt)

    def leave(self, attempt: "Attempt") -> None:
        """An attempt is over. A call that nobody hears of any more is stopped; a thread that goes on keeps its place."""
        group = attempt.company
        place = None if group is None else group.places.pop(attempt, None)
        if group is None or place is None:
            return
        place.cancel()
        group.is_readable.discard(attempt)
        group.look()
        self._members -= 1
        if not group.places:
            self._groups.discard(group)
            self._forget(group)
            if group.task is not None and not group.is_over:
                group.task.cancel()

    def _group_of(self, attempt: "Attempt") -> "Group":
        lane, claimed = attempt.assignment.lane, attempt.assignment.claimed
        kind = self._kind(lane)
        assert kind is not None
        if _alone(claimed):
            group = Group(kind, 1, attempt.spec)
        elif (forming := self._forming.get(kind)) is not None:
            return forming
        else:
            collect = self.kinds[kind.task]
            group = self._forming[kind] = Group(kind, collect.size, attempt.spec)
            asyncio.get_running_loop().call_later(collect.wait_seconds, self._begin, group)
        self._groups.add(group)
        return group

    def _forget(self, group: "Group") -> None:
        if self._forming.get(group.kind) is group:
            del self._forming[group.kind]

    def _begin(self, group: "Group") -> None:
        self._forget(group)
        if group.task is None and group.places:
            group.task = asyncio.get_running_loop().create_task(group.run(self._run))
            group.look()

    def shut(self) -> None:
        """The worker is about to stop: who waits for company goes back unstarted, and user code is told."""
        for group in tuple(self._groups):
            if group.context is not None:
                group.context.stopping = True
            else:
                self._forget(group)
                group.tell_all(Unstarted())

    def wants(self, claimed: Sequence[tuple[Claimed, Lane]]) -> list[tuple[Kind, int]]:
        """What groups have room for, those included that these claims are about to begin. From the worker's thread."""
        sizes = {kind: len(group.places) for kind, group in tuple(self._forming.items())}
        for coming in tuple(self._coming.values()):
            sizes[coming] = sizes.get(coming, 0) + 1
        for run, lane in claimed:
            if (kind := self._kind(lane)) is not None and not _alone(run):
                sizes[kind] = sizes.get(kind, 0) + 1
        rooms = [(kind, -members % self.kinds[kind.task].size) for kind, members in sizes.items()]
        return [(kind, room) for kind, room in rooms if room][:_MOST_WANTS]


class Group:
    """Attempts that share one call. Also what their context speaks to."""

    def __init__(self, kind: Kind, size: int, spec: TaskSpec) -> None:
        self.kind = kind
        self.size = size
        self.spec = spec
        self.places: dict[Attempt, asyncio.Future[Outcome]] = {}
        self.task: asyncio.Task[None] | None = None
        self.context: Context | None = None
        self.is_over = False
        self.is_readable: set[Attempt] = set()
        self._complete = asyncio.Event()
        self._called: list[Attempt] = []
        self._is_abandoned = False

    def goes_on_without(self, attempt: "Attempt") -> bool:
        """One member is asked to stop: the call goes on for the others, and this one hears how it ended. Once all are asked, the
        call is stopped. False: nobody was called yet, or a thread is left alone, so this one may leave."""
        if self.task is None or attempt not in self.places or self.spec.executor != "async":
            return False
        self._stop_if_all_are_asked()
        return True

    def asked(self) -> None:
        """A member was asked to stop, and is not cut off yet."""
        self._stop_if_all_are_asked()

    def abandons(self) -> bool:
        """Whether the place of this call is to be kept from now on. True once, however many members leave it."""
        first, self._is_abandoned = not self._is_abandoned, True
        return first

    def _stop_if_all_are_asked(self) -> None:
        reasons = [member.why for member in self._called if member in self.places]
        if self.context is None or None in reasons:
            return
        self.context.stop(next((why for why in reasons if why is not None), "cancelled"))
        if self.spec.executor == "async" and self.task is not None:
            self.task.cancel()

    # -- the call ---------------------------------------------------------------------------------------------------

    async def run(self, run: Run) -> None:
        """Call user code once, and tell each member what that means for it."""
        try:
            await self._run(run)
        finally:
            self.is_over = True

    def look(self) -> None:
        """Go on once every member's payload can be read, or it has left."""
        if all(member in self.is_readable for member in self.places):
            self._complete.set()

    async def _run(self, run: Run) -> None:
        values: list[Any] = []
        await self._complete.wait()
        loop = asyncio.get_running_loop()
        for member in tuple(self.places):
            if member.why is not None:
                self._tell(member, Stopped())
                continue
            try:
                (value,) = self.spec.schema.decode(member.assignment.claimed.body or b"{}")
            except PayloadInvalid as error:
                self._tell(member, Unworkable("invalid_payload", error.message))
                continue
            values.append(value)
            self._called.append(member)
            timeout_us = member.assignment.policy.timeout_us
            if timeout_us is not None:
                member.deadline = loop.time() + timeout_us / 1e6  # waiting for company was not its work
        if values:
            await self._call(run, values)

    async def _call(self, run: Run, values: list[Any]) -> None:
        first = self._called[0].assignment
        context = self.context = Context(first.claimed, task=first.lane.task, queue=first.lane.queue, sink=self)
        context.gather([member.assignment.claimed.id for member in self._called])
        arguments = self.spec.schema.with_context((values,), context)
        try:
            result = await run(self, lambda: self.spec.function(*arguments))
        except asyncio.CancelledError:
            self.tell_all(Stopped())
            return
        except BaseException as error:  # noqa: BLE001  (SystemExit of user code ends the attempts, not the worker)
            result = Raised(error)
        for place, member in enumerate(self._called):
            self._tell(member, self._meant(member, context.said_of(place), place, result, values))

    def _meant(self, member: "Attempt", said: TaskSignal | None, place: int, result: Any, values: list[Any]) -> Outcome:
        kinds, schema = member.assignment.policy.kinds, self.spec.schema
        if isinstance(result, Raised):
            return raised(result.error, values, schema=schema, kinds=kinds)
        if said is not None:
            return raised(said, schema=schema, kinds=kinds)
        own = isinstance(result, (list, tuple)) and len(result) == len(values)
        return returned(result[place] if own else result, schema)

    def tell_all(self, outcome: Outcome) -> None:
        """The same for all."""
        for member in tuple(self.places):
            self._tell(member, outcome)

    def _tell(self, member: "Attempt", outcome: Outcome) -> None:
        place = self.places.get(member)
        if place is not None and not place.done():
            place.set_result(outcome)

    # -- for the context --------------------------------------------------------------------------------------------

    def tell(self, details: bytes | None, progress: str | None, now: bool) -> None:
        """Progress, and a checkpoint, of each of them."""
        for member in tuple(self._called):
            member.tell(details, progress, now)

    def members(self) -> NoReturn:
        """Not for many at once."""
        raise InvalidOption("a task with collect= has many runs at once, and this speaks of one", option="collect")

    def occurrence(self) -> NoReturn:
        """Not for many at once."""
        self.members()

    def batch(self) -> NoReturn:
        """Not for many at once."""
        self.members()

    def transaction(self, using: Any, result: Any) -> NoReturn:
        """Not for many at once."""
        self.members()

    atransaction = transaction


def tried(call: Callable[[], Any]) -> Any:
    """User code in its own thread: nothing it raises crosses over as an exception."""
    try:
        return call()
    except BaseException as error:  # noqa: BLE001  (whatever user code raises is an outcome)
        return Raised(error)


def _alone(claimed: Claimed) -> bool:
    return goes_alone(failures=claimed.failures, interruptions=claimed.interruptions)


class Company:
    """A claim that also brings company: for each group with room, more runs of its kind, which need no place. In the worker's
    thread."""

    def __init__(self, collecting: Collecting, claim: Any = claims.claim) -> None:
        self._collecting = collecting
        self._claim = claim

    @property
    def surplus(self) -> int:
        """How many of the runs that a worker holds take no place."""
        return self._collecting.surplus

    @property
    def is_wanted(self) -> bool:
        """Whether a group waits for more, though there may be no place."""
        return bool(self._collecting.wants(()))

    def __call__(self, tx: Transaction, who: Claimer, walk: Walk, *, most: int, meanwhile: Callable[[], None]) -> Claim:
        """As ``claims.claim``."""
        if most > 0:
            claim = self._claim(tx, who, walk, most=most, meanwhile=meanwhile)
        else:
            meanwhile()
            claim = Claim([], False, None)
        runs = list(claim.runs)
        for kind, room in self._collecting.wants([(run, walk.lanes[run.lane_id]) for run in runs]):
            runs += self._more(tx, who, walk, kind, room)
        return Claim(runs, claim.more, claim.opens_in)

    def _more(self, tx: Transaction, who: Claimer, walk: Walk, kind: Kind, room: int) -> Iterator[Claimed]:
        if kind.task not in who.tasks:
            return
        by_key = self._collecting.kinds[kind.task].by == "key"
        keys = frozenset([kind.key]) if by_key else None
        alike = replace(who, tasks={kind.task: who.tasks[kind.task]}, keys=keys)
        own_walk = Walk(place=walk.place, lanes=walk.lanes)
        yield from claims.claim(tx, alike, own_walk, most=room).runs
