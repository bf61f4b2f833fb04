"""Runs that wait for others as a shape of the simulator: dependants, chains, batches that are open, sealed and cancelled.

Here: the calls, and the oracle that looks at every claim: whoever waits begins after its upstreams ended as wanted, by a table of
its own. Not here: what the rows say of themselves (``testing/invariants.py``), and that work comes to an end (``simulation``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, ClassVar

from mainspring.client import Request
from mainspring.core.dependencies import Condition, FiresOn
from mainspring.core.events import Event
from mainspring.core.states import TERMINAL, EventType
from mainspring.errors import CommitUnknown, InvalidOption, RunTerminal, StorageConflict, StorageUnavailable, UnknownRun
from mainspring.runtime.worker import Assignment
from mainspring.testing.invariants import Violation
from mainspring.testing.simulator.jobs import Jobs
from mainspring.testing.simulator.nodes import ClientNode
from mainspring.testing.simulator.scenario import Kind
from mainspring.testing.simulator.witness import Witness
from mainspring.testing.simulator.world import World

_FAILED = frozenset({"failed", "upstream_failed"})
_WANTED = {Condition.SUCCEEDED: frozenset({"succeeded"}), Condition.DONE: frozenset(map(str, TERMINAL)), Condition.FAILED: _FAILED}
_ON: Mapping[FiresOn, Condition] = {
    "all_succeeded": Condition.SUCCEEDED,
    "any_failed": Condition.FAILED,
    "done": Condition.DONE,
}
_REFUSED = (StorageUnavailable, StorageConflict, UnknownRun)


class Dependants:
    """Runs behind others, and batches with their callbacks."""

    kinds: ClassVar[Mapping[str, Kind]] = {
        "batch": Kind(4, "user"),
        "chain": Kind(4, "user"),
        "after": Kind(5, "user"),
        "join batch": Kind(3, "user"),
        "seal batch": Kind(3, "user"),
        "cancel batch": Kind(2, "user"),
        "cancel dependant": Kind(2, "user"),
    }

    def __init__(self, world: World, witness: Witness) -> None:
        self._world = world
        self._witness = witness
        self._waits: dict[str, tuple[tuple[str, Condition], ...]] = {}
        self._batches: list[str] = []
        self._seal_asked: set[str] = set()
        witness.watchers.append(self._claimed)

    def calls(self) -> Mapping[str, Callable[[ClientNode, Random], None]]:
        """What each kind of step does."""
        return {
            "batch": self._batch,
            "chain": self._chain,
            "after": self._after,
            "join batch": self._join,
            "seal batch": partial(self._steer, how="seal"),
            "cancel batch": partial(self._steer, how="cancel"),
            "cancel dependant": self._cancel,
        }

    def begin(self, client: ClientNode) -> None:
        """Nothing has to be set up."""

    def heal(self, client: ClientNode) -> None:
        """Seal what somebody forgot to."""
        for (batch_id,) in self._world.look("SELECT id FROM batches WHERE sealed_at IS NULL ORDER BY id"):
            self._seal_asked.add(batch_id)
            client.client.batches.seal(batch_id)

    def verify(self, ledgers: Mapping[str, Sequence[Event]]) -> Iterable[Violation]:
        """Whoever waited was let go once, and is not blocked although everything it waited for has ended."""
        for run_id in self._waits.keys() & ledgers.keys():
            ledger = ledgers[run_id]
            if sum(event.type is EventType.UNBLOCKED for event in ledger) > 1:
                yield Violation("a_dependant_is_let_go_once", run_id, str([str(event.type) for event in ledger]))

    def excuses(self, violation: Violation) -> bool:
        """Nothing is right for a reason that the rows do not know."""
        return False

    # -- creating ---------------------------------------------------------------------------------------------------

    def _after(self, client: ClientNode, dice: Random) -> None:
        found = self._world.look("SELECT id FROM runs ORDER BY id DESC LIMIT 12")
        upstreams = [str(row[0]) for row in found] + self._batches[-3:]
        if not upstreams:
            return
        chosen = sorted(set(dice.choices(upstreams, k=dice.randint(1, 3))))
        after = tuple((upstream, dice.choice(list(Condition))) for upstream in chosen)
        self._submit(client, [self._plain(dice)._replace(after=after, delay=dice.choice((0, 0, 3_000_000)))])

    def _chain(self, client: ClientNode, dice: Random) -> None:
        requests: list[Request] = []
        for _ in range(dice.randint(2, 5)):
            after = tuple((request.run_id or "", Condition.SUCCEEDED) for request in requests[-1:])
            requests.append(self._plain(dice)._replace(run_id=client.system.new_id(), after=after))
        self._submit(client, requests)

    def _submit(self, client: ClientNode, requests: Sequence[Request]) -> None:
        client.system.made.clear()
        for request in requests:
            if request.run_id is not None:
                self._waits[request.run_id] = request.after
        try:
            handles = client.client.submit(requests)
        except _REFUSED:
            self._witness.was_refused(client.system.made)
        except CommitUnknown:
            return
        else:
            for request, handle in zip(requests, handles, strict=True):
                self._took(request, handle.id)

    def _batch(self, client: ClientNode, dice: Random) -> None:
        members = [self._plain(dice) for _ in range(dice.randrange(5))]
        callbacks = {on: self._plain(dice) for on in _ON if dice.random() < 0.5}
        seal = dice.random() < 0.6
        client.system.made.clear()
        try:
            handle = client.client.batches.create(members, callbacks, seal=seal)
        except _REFUSED:
            self._witness.was_refused(client.system.made)
            return
        except CommitUnknown:
            return
        self._batches.append(handle.id)
        if seal:
            self._seal_asked.add(handle.id)
        for request, run_id in zip(members, handle.members, strict=True):
            self._took(request, run_id)
        ((waiting,),) = self._world.look("SELECT count(*) FROM dependencies WHERE upstream_id = ?", handle.id)
        if waiting != len(callbacks):
            self._witness.accuse("a_batch_has_the_callbacks_it_was_given", handle.id, f"{waiting} of {len(callbacks)}")
        for on, callback in handle.callbacks.items():
            self._took(callbacks[on]._replace(after=((handle.id, _ON[on]),)), callback.id)

    def _join(self, client: ClientNode, dice: Random) -> None:
        if not self._batches:
            return
        members = [self._plain(dice) for _ in range(dice.randint(1, 3))]
        client.system.made.clear()
        try:
            joined = client.client.batches.add(dice.choice(self._batches[-4:]), members)
        except (InvalidOption, *_REFUSED):
            self._witness.was_refused(client.system.made)
        except CommitUnknown:
            return
        else:
            for request, run_id in zip(members, joined, strict=True):
                self._took(request, run_id)

    def _took(self, request: Request, run_id: str) -> None:
        self._witness.was_accepted(run_id, request.body)
        if request.after:
            self._waits[run_id] = request.after

    # -- steering ---------------------------------------------------------------------------------------------------

    def _steer(self, client: ClientNode, dice: Random, *, how: str) -> None:
        if not self._batches:
            return
        batch_id = dice.choice(self._batches[-4:])
        self._seal_asked.add(batch_id)
        act = client.client.batches.seal if how == "seal" else client.client.batches.cancel
        self._try(act, batch_id)

    def _cancel(self, client: ClientNode, dice: Random) -> None:
        if not self._waits:
            return
        run_id = dice.choice(list(self._waits)[-8:])
        if self._try(partial(client.client.runs.cancel, run_id, reason="scripted")) is not None:
            self._witness.cancelled.add(run_id)

    @staticmethod
    def _try(call: Callable[..., Any], *args: Any) -> Any:
        try:
            return call(*args)
        except (RunTerminal, CommitUnknown, *_REFUSED):
            return None

    @staticmethod
    def _plain(dice: Random) -> Request:
        return Jobs.plain(dice, dice.randrange(10**6))

    # -- looking ----------------------------------------------------------------------------------------------------

    def _claimed(self, claims: Sequence[Assignment]) -> None:
        """Whoever waits is handed out when its upstreams have ended as wanted, and no sooner."""
        for run_id in (assignment.claimed.id for assignment in claims):
            if self._world.look("SELECT 1 FROM events WHERE run_id = ? AND type = 'resumed'", run_id):
                continue  # parked, since nobody had sealed its batch, and let go by a person
            for upstream, condition in self._waits.get(run_id, ()):
                if detail := self._undecided(upstream, condition):
                    self._witness.accuse("a_dependant_begins_after_its_upstreams", run_id, f"{upstream} {detail}")

    def _undecided(self, upstream: str, condition: Condition) -> str:
        """Why nobody may begin behind this upstream; "" where it may."""
        rows = self._world.look("SELECT state FROM runs WHERE id = ?", upstream)
        if rows:
            return "" if rows[0][0] in _WANTED[condition] else f"is {rows[0][0]}, wanted {condition}"
        members = [str(row[0]) for row in self._world.look("SELECT state FROM runs WHERE batch_id = ?", upstream)]
        if upstream not in self._batches or upstream in self._witness.pruned:
            return ""
        if condition is Condition.FAILED:
            return "" if any(state in _FAILED for state in members) else f"has no failed member: {members}"
        if upstream not in self._seal_asked:
            return "was never sealed"
        return "" if all(state in _WANTED[condition] for state in members) else f"has members {members}, wanted {condition}"
