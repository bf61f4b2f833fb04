"""Jobs as a shape of the simulator: everything a caller and an operator can do with them, and what they are told.

Here: the calls, with the answers a caller may get, compared at once with the database. Not here: faults (``fleet``), attempts
(``code``), promises about single runs (``witness``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, ClassVar

import msgspec

from mainspring.client import Request
from mainspring.core.budgets import Budgets
from mainspring.core.durations import MINUTE, SECOND
from mainspring.core.events import Event
from mainspring.core.lanes import Lane
from mainspring.core.policy import Policy
from mainspring.core.retry import Exponential
from mainspring.core.states import EventType
from mainspring.errors import (
    CommitUnknown,
    KeyConflict,
    NotTerminal,
    RunTerminal,
    StorageConflict,
    StorageUnavailable,
    UnknownRun,
)
from mainspring.operations import deadlines
from mainspring.operations.enqueue import policy_row
from mainspring.testing.invariants import Violation
from mainspring.testing.simulator.nodes import ClientNode
from mainspring.testing.simulator.scenario import Kind
from mainspring.testing.simulator.witness import Witness
from mainspring.testing.simulator.world import Crash, World

QUEUES = ("a", "b")
TASKS = ("t", "u")
_SHORTEST_KEY_TTL = 10 * SECOND
_KEYS = ("k1", "k2", "k3")
_encode = msgspec.json.Encoder().encode

POLICIES = tuple(
    policy_row(
        Policy(
            budgets=Budgets(max_attempts=attempts, max_interruptions=interruptions, max_releases=releases),
            backoff=Exponential(initial_us=SECOND, factor=2.0, max_us=3 * SECOND),
            timeout_us=timeout,
            grace_us=SECOND,
        )
    )
    for attempts, interruptions, releases, timeout in ((3, 10, None, 10 * SECOND), (1, 2, 1, 3 * SECOND), (2, 1, 0, 10 * SECOND))
)

#: What a caller may be told although nothing is wrong with us.
_WORLD = (StorageUnavailable, StorageConflict)


class Jobs:
    """Tasks by name, in two queues."""

    kinds: ClassVar[Mapping[str, Kind]] = {
        "enqueue": Kind(10, "user"),
        "enqueue many": Kind(9, "user"),
        "enqueue later": Kind(5, "user"),
        "enqueue keyed": Kind(8, "user"),
        "enqueue bounded": Kind(6, "user"),
        "enqueue singleton": Kind(5, "user"),
        "cancel": Kind(5, "user"),
        "retry": Kind(5, "user"),
        "unpark": Kind(3, "user"),
        "pause queue": Kind(2, "user"),
        "resume queue": Kind(3, "user"),
        "limit": Kind(4, "user"),
        "prune": Kind(1, "user"),
        "park unserved": Kind(1, "user"),
    }

    def __init__(self, world: World, witness: Witness) -> None:
        self._world = world
        self._witness = witness
        self._owners: dict[tuple[str, str], str] = {}
        self._known: list[str] = []
        self._while_active: set[str] = set()  # made under a key that is free as soon as its run has ended

    def calls(self) -> Mapping[str, Callable[[ClientNode, Random], None]]:
        """What each kind of step does."""
        return {
            "enqueue": partial(self._enqueue, how="plain"),
            "enqueue many": partial(self._enqueue, how="many"),
            "enqueue later": partial(self._enqueue, how="later"),
            "enqueue keyed": partial(self._enqueue, how="keyed"),
            "enqueue bounded": partial(self._enqueue, how="bounded"),
            "enqueue singleton": partial(self._enqueue, how="singleton"),
            "cancel": self._cancel,
            "retry": self._retry,
            "unpark": self._unpark,
            "pause queue": partial(self._pause, on=True),
            "resume queue": partial(self._pause, on=False),
            "limit": self._limit,
            "prune": self._prune,
            "park unserved": self._park_unserved,
        }

    def begin(self, client: ClientNode) -> None:
        """Declare the queues."""
        for queue in QUEUES:
            client.client.queues.declare(queue)

    def heal(self, client: ClientNode) -> None:
        """Let everything run: nothing is paused, and every limit lets one through at least."""
        for queue in client.client.queues.list():
            client.client.queues.resume(queue.name)
            self._witness.paused.discard(queue.name)
            if queue.limit == 0:
                client.client.queues.limit(queue.name, 1)
                self._witness.was_limited(("queue", queue.name), 1)
        self._witness.look_for_lowered()

    def verify(self, ledgers: Mapping[str, Sequence[Event]]) -> Iterable[Violation]:
        """Nobody spends more than the budget that was agreed."""
        for run_id, ledger in ledgers.items():
            policy = _BUDGETS[ledger[0].data["policy"]]
            for kind, most in (
                (EventType.RETRY_SCHEDULED, policy.max_attempts - 1),
                (EventType.INTERRUPTED, policy.max_interruptions),
                (EventType.RELEASED, policy.max_releases),
            ):
                count = sum(event.type is kind for event in ledger)
                if most is not None and count > most:
                    yield Violation("a_budget_is_not_overdrawn", run_id, f"{kind} {count} times, of {most}")

    def excuses(self, violation: Violation) -> bool:
        """Nothing is right for a reason that the rows do not know."""
        return False

    # -- creating ---------------------------------------------------------------------------------------------------

    def _enqueue(self, client: ClientNode, dice: Random, *, how: str) -> None:
        requests = [self._request(dice, how)] if how != "many" else self._alike(dice)
        client.system.made.clear()
        called_at = self._world.clock.now
        try:
            handles = client.client.submit(requests)
        except KeyConflict as refused:
            self._check_conflict(requests[0], refused)
            self._witness.was_refused(client.system.made)
            return
        except _WORLD:
            self._witness.was_refused(client.system.made)
            return
        except (Crash, CommitUnknown) as unsure:
            self._forget_owners(requests)
            if isinstance(unsure, Crash):
                raise
            return
        for request, handle in zip(requests, handles, strict=True):
            self._took(request, handle.id, handle.outcome, called_at)
            if handle.outcome == "created":
                self._witness.was_bounded(handle.id, request.expires_at, request.deadline_at)

    def _request(self, dice: Random, how: str) -> Request:
        key = singleton = due_at = None
        delay = 0
        if how == "later":
            delay = dice.randrange(20 * SECOND)
            if dice.random() < 0.5:
                due_at, delay = self._world.clock.now + delay - 5 * SECOND, 0
        if how == "keyed":
            key = dice.choice(_KEYS)
        if how == "singleton" or (how == "keyed" and dice.random() < 0.2):
            singleton = dice.choice(_KEYS)
        number = dice.randrange(3) if key else dice.randrange(10**6)  # so that a key often meets its own payload again
        request = self.plain(dice, number)._replace(
            due_at=due_at, delay=delay, key=key, key_ttl=dice.choice((0, _SHORTEST_KEY_TTL, 60 * MINUTE)), singleton=singleton
        )
        return self._bounded(request, dice) if how == "bounded" else request

    def _bounded(self, request: Request, dice: Random) -> Request:
        """The same with an instant by which it is to begin, or to end, or both."""
        begin, end = (self._world.clock.now + dice.randrange(20 * SECOND) for _ in range(2))
        which = dice.randrange(3)
        return request._replace(
            expires_at=None if which == 0 else begin, deadline_at=None if which == 1 else end, delay=dice.choice((0, 5 * SECOND))
        )

    def _alike(self, dice: Random) -> list[Request]:
        first = self.plain(dice, 0)
        return [first._replace(body=_encode({"dice": dice.randrange(10**6)})) for _ in range(dice.randint(2, 7))]

    @staticmethod
    def plain(dice: Random, number: int) -> Request:
        """A request with nothing special about it."""
        return Request(lane=dice.choice(_LANES), policy=dice.choice(POLICIES), body=_encode({"dice": number}))

    def _took(self, request: Request, run_id: str, outcome: str, called_at: int = 0) -> None:
        due_at = None
        if request.due_at is not None or request.delay:
            due_at = request.due_at if request.due_at is not None else called_at + request.delay
        if outcome == "created":
            self._witness.was_accepted(run_id, request.body, due_at)
            self._known.append(run_id)
            if request.key is not None and request.key_ttl == 0:
                self._while_active.add(run_id)
        if outcome == "existing" and request.key is not None and request.singleton is not None:
            return  # found by one of the two, and nobody says by which
        for kind, key in (("key", request.key), ("singleton", request.singleton)):
            if key is not None:
                self._check_owner(kind, f"{request.lane.task} {key}", run_id, outcome)

    def _check_owner(self, kind: str, key: str, run_id: str, outcome: str) -> None:
        """P6: whoever owned the key before this call, and has not lost it since, is who the caller gets."""
        before = self._owners.get((kind, key))
        if before not in {None, run_id} and before not in self._witness.pruned and self._still_owns(kind, str(before)):
            self._witness.accuse("a_key_has_one_owner", run_id, f"{outcome} under {kind} {key}, which {before} still holds")
        self._owners[kind, key] = run_id

    def _still_owns(self, kind: str, run_id: str) -> bool:
        """Whether a run made under a key must still hold it: while it lives; an idempotency key after that for its retention, which
        is none or never less than ten seconds, unless its run simply failed."""
        sql = "SELECT 1 FROM runs WHERE id = ? AND ended_at IS NULL AND created_at > ?"
        since = 0
        if kind == "key":
            sql = (
                "SELECT 1 FROM runs WHERE id = ? AND (ended_at IS NULL"
                " OR (state NOT IN ('failed', 'upstream_failed', 'skipped') AND created_at > ?))"
            )
            since = self._world.clock.now - _SHORTEST_KEY_TTL if self._witness.clock_is_true else 2**62
            if run_id in self._while_active:
                since = 2**62
        return bool(self._world.look(sql, run_id, since))

    def _check_conflict(self, request: Request, refused: KeyConflict) -> None:
        if request.key is None:
            self._witness.accuse("only_keys_conflict", str(refused.owner), "a call without a key was refused")

    def _forget_owners(self, requests: Sequence[Request]) -> None:
        """The caller knows nothing: any of it may have happened."""
        for request in requests:
            for kind, key in (("key", request.key), ("singleton", request.singleton)):
                self._owners.pop((kind, f"{request.lane.task} {key}"), None)

    # -- acting on runs ---------------------------------------------------------------------------------------------

    def _cancel(self, client: ClientNode, dice: Random) -> None:
        if (run_id := self._any(dice)) is None:
            return
        answer = self._try(partial(client.client.runs.cancel, run_id, reason="scripted"))
        if answer is not None:
            self._witness.cancelled.add(run_id)

    def _retry(self, client: ClientNode, dice: Random) -> None:
        if (run_id := self._some(dice, "state IN ('failed', 'cancelled')")) is None:
            return
        passed_on = [key for key, owner in self._owners.items() if owner == run_id]
        for key in passed_on:  # the new run takes them over, unless nothing comes of it
            del self._owners[key]
        handle = self._try(client.client.runs.retry, run_id)
        if handle is not None and handle.outcome == "created":
            self._witness.was_accepted(handle.id, self._body(handle.id))
            self._known.append(handle.id)
            self._owners |= dict.fromkeys(passed_on, handle.id)

    def _unpark(self, client: ClientNode, dice: Random) -> None:
        if (run_id := self._some(dice, "state = 'needs_attention'")) is not None:
            act = client.client.runs.resume if dice.random() < 0.7 else client.client.runs.fail
            self._try(act, run_id, "scripted")

    def _prune(self, client: ClientNode, dice: Random) -> None:
        age = dice.choice((0, 10, 300))
        before = self._ends()  # of all runs: while the call waits for an answer, more may end and be old enough for its next try
        try:
            self._try(partial(client.client.runs.prune, older_than=age, limit=dice.choice((2, 1000))))
        finally:
            gone = before.keys() - self._ends().keys()
            self._witness.pruned |= gone
        for run_id in sorted(gone):
            ended_at = before[run_id]
            if self._witness.clock_is_true and ended_at is not None and ended_at > self._world.clock.now - age * SECOND:
                self._witness.accuse("only_old_runs_are_pruned", run_id, f"ended at {ended_at}")

    def _park_unserved(self, client: ClientNode, dice: Random) -> None:
        def park(tx: Any) -> int:
            return deadlines.park_unserved(tx, before=tx.now - 60 * SECOND, settled=tx.now, most=dice.randint(1, 5), actor="leader")

        self._try(partial(client.line.write, "runs.park", park))

    # -- queues -----------------------------------------------------------------------------------------------------

    def _pause(self, client: ClientNode, dice: Random, *, on: bool) -> None:
        queue = dice.choice(QUEUES)
        self._witness.paused.discard(queue)
        act = client.client.queues.pause if on else client.client.queues.resume
        if self._try(act, queue) is not None and on:
            self._witness.paused.add(queue)

    def _limit(self, client: ClientNode, dice: Random) -> None:
        queue, size = dice.choice(QUEUES), dice.choice((None, 0, 1, 1, 2, 3))
        self._witness.limits.pop(("queue", queue), None)

        def limit() -> bool:
            client.client.queues.limit(queue, size)
            return True

        try:
            if self._try(limit):
                self._witness.was_limited(("queue", queue), size)
        finally:
            self._witness.look_for_lowered()

    # -- asking -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _try(call: Callable[..., Any], *args: Any) -> Any:
        """What a call answers, or None where the caller was told why not."""
        try:
            return call(*args)
        except (UnknownRun, RunTerminal, NotTerminal, KeyConflict, CommitUnknown, *_WORLD):
            return None

    def _any(self, dice: Random) -> str | None:
        return dice.choice(self._known[-12:]) if self._known else None

    def _some(self, dice: Random, where: str) -> str | None:
        found = self._world.look(f"SELECT id FROM runs WHERE {where} ORDER BY id DESC LIMIT 8")
        return str(dice.choice(found)[0]) if found else None

    def _body(self, run_id: str) -> bytes:
        sql = (
            "SELECT e.body FROM runs r JOIN runs s ON s.id = r.rerun_of JOIN events e ON e.run_id = s.id AND e.seq = s.payload_seq"
            " WHERE r.id = ?"
        )
        ((body,),) = self._world.look(sql, run_id)
        return bytes(body)

    def _ends(self) -> dict[str, int | None]:
        return dict(self._world.look("SELECT id, ended_at FROM runs"))


_LANES = tuple(
    Lane(namespace="default", queue=queue, task=task, priority=priority)
    for queue, task, priority in (("a", "t", 0), ("a", "u", 0), ("b", "t", 0), ("b", "u", 5))
)
_BUDGETS = {row[0]: Policy.from_data(msgspec.json.decode(row[1])).budgets for row in POLICIES}
