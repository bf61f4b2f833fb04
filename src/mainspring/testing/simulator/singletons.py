"""Replaced and debounced payloads as a shape of the simulator, with an oracle that knows nothing of how they are kept.

Here: the calls of a few singletons, what each caller was told, and which payloads were handed out. The promise: of the payloads
that callers were told a run has, the last one is handed out, to that run alone, once it runs; no other is handed out after it was
given.
Not here: singletons whose second call gets the first one's run (``jobs``).

Every payload is another, so that a payload names its call. A call of which nobody knows whether it happened may have happened.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar

import msgspec

from mainspring.client import Request
from mainspring.core.debounce import Debounce
from mainspring.core.durations import SECOND
from mainspring.core.events import Event
from mainspring.core.lanes import Lane
from mainspring.core.states import State
from mainspring.errors import CommitUnknown, StorageConflict, StorageUnavailable
from mainspring.runtime.worker import Assignment
from mainspring.testing.invariants import Violation
from mainspring.testing.simulator.jobs import POLICIES
from mainspring.testing.simulator.nodes import ClientNode
from mainspring.testing.simulator.scenario import Kind
from mainspring.testing.simulator.witness import Witness
from mainspring.testing.simulator.world import Crash, World

_KEYS = ("r1", "r2")
_LANES = (Lane(namespace="default", queue="a", task="t"), Lane(namespace="default", queue="b", task="t", priority=5))
_DEBOUNCES = (Debounce("2s"), Debounce("3s", "4s"), Debounce("2s", edge="both"), Debounce("4s", "4s", "leading"))
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Told:
    """What callers were told of one run: the payloads that it was given, in order, and those that it was handed out with."""

    given: list[bytes] = field(default_factory=list)
    handed: list[bytes] = field(default_factory=list)


class Singletons:
    """Calls whose latest payload wins."""

    kinds: ClassVar[Mapping[str, Kind]] = {
        "replace": Kind(6, "user"),
        "replace later": Kind(3, "user"),
        "debounce": Kind(5, "user"),
        "skip": Kind(2, "user"),
    }

    def __init__(self, world: World, witness: Witness) -> None:
        self._world = world
        self._witness = witness
        self._runs: dict[str, _Told] = {}
        self._promised: set[str] = set()
        self._told: dict[str, list[tuple[bytes, str, str]]] = {key: [] for key in _KEYS}  # payload, outcome, run, as they came
        self._unsure: set[bytes] = set()  # under way, or nobody knows
        self._refused: set[bytes] = set()
        self._number = 0
        witness.watchers.append(self._claimed)

    def calls(self) -> Mapping[str, Callable[[ClientNode, Random], None]]:
        """What each kind of step does."""
        return {
            "replace": lambda client, dice: self._call(client, self._request(dice)),
            "replace later": lambda client, dice: self._call(
                client, self._request(dice)._replace(delay=dice.randrange(8 * SECOND))
            ),
            "debounce": lambda client, dice: self._call(client, self._request(dice)._replace(debounce=dice.choice(_DEBOUNCES))),
            "skip": lambda client, dice: self._call(client, self._request(dice)._replace(on_singleton="skip")),
        }

    def begin(self, client: ClientNode) -> None:
        """Nothing: the queues are there."""

    def heal(self, client: ClientNode) -> None:
        """Nothing holds these up for ever."""

    def excuses(self, violation: Violation) -> bool:
        """Nothing is right for a reason that the rows do not know."""
        return False

    def _request(self, dice: Random) -> Request:
        self._number += 1
        body = _encode({"dice": dice.randrange(10**6) * 10**4 + self._number})
        lane, policy = dice.choice(_LANES), dice.choice(POLICIES)
        return Request(lane=lane, policy=policy, body=body, singleton=dice.choice(_KEYS), on_singleton="replace")

    def _call(self, client: ClientNode, request: Request) -> None:
        client.system.made.clear()
        self._unsure.add(request.body)
        try:
            (handle,) = client.client.submit([request])
        except (StorageUnavailable, StorageConflict):
            self._witness.was_refused(client.system.made)
            self._refused.add(request.body)
            return
        except (Crash, CommitUnknown) as unsure:
            if isinstance(unsure, Crash):
                raise
            return
        self._unsure.discard(request.body)
        self._was_told(request, handle.id, handle.outcome)
        self._check_live()

    def _was_told(self, request: Request, run_id: str, outcome: str) -> None:
        if outcome in {"created", "skipped"}:
            self._witness.was_accepted(run_id, request.body)
        if outcome in {"created", "replaced", "deferred"}:
            self._runs.setdefault(run_id, _Told()).given.append(request.body)
            self._promised.add(run_id)
            self._told[str(request.singleton)].append((request.body, outcome, run_id))
        else:
            self._refused.add(request.body)  # somebody else's run is the answer, so this payload is nobody's

    def _check_live(self) -> None:
        rows = self._world.look(
            "SELECT singleton_key, count(*) FROM runs WHERE singleton_key IS NOT NULL AND ended_at IS NULL"
            " GROUP BY singleton_key, (SELECT task FROM lanes WHERE id = lane_id) HAVING count(*) > 1"
        )
        for key, count in rows:
            self._witness.accuse("a_singleton_lives_once", key, f"{count} runs live")

    # -- what was handed out ------------------------------------------------------------------------------------------

    def _claimed(self, claims: Sequence[Assignment]) -> None:
        for assignment in claims:
            claimed = assignment.claimed
            if claimed.singleton_key not in _KEYS or claimed.body is None:
                continue
            rows = self._world.look(
                "SELECT rerun_of FROM runs WHERE id = ? AND token = ? AND ended_at IS NULL", claimed.id, claimed.token
            )
            for (source,) in rows:  # none: it comes too late to matter, the run has ended or is another's by now
                if source is None and claimed.token == 1:
                    self._check_order(claimed.singleton_key, claimed.id, claimed.body)
                self._handed(claimed.id, claimed.body, is_copy=source is not None)

    def _check_order(self, key: str, run_id: str, body: bytes) -> None:
        """What a run begins with is older than nothing that a run before it was given: whatever came since is for after it."""
        told = self._told[key]
        place = next((place for place, (each, _, _) in enumerate(told) if each == body), len(told))
        for later, outcome, other in told[place + 1 :]:
            if outcome == "replaced" and other != run_id:
                self._witness.accuse("no_payload_but_the_last", run_id, f"{body!r} begins after {later!r} was given to {other}")

    def _handed(self, run_id: str, body: bytes, *, is_copy: bool) -> None:
        if body in self._refused:
            self._witness.accuse("a_refused_payload_is_not_handed_out", run_id, f"{body!r}")
        told = self._runs.setdefault(run_id, _Told())
        if told.given and body != told.given[-1] and body not in self._unsure and not is_copy:
            self._witness.accuse("the_last_payload_is_handed_out", run_id, f"{body!r} instead of {told.given[-1]!r}")
        others = [other for other, each in self._runs.items() if other != run_id and body in each.handed]
        if others and not is_copy:
            self._witness.accuse("a_payload_goes_to_one_run", run_id, f"{body!r} went to {others[0]} before")
        told.handed.append(body)

    # -- the end of the story -----------------------------------------------------------------------------------------

    def verify(self, ledgers: Mapping[str, Sequence[Event]]) -> Iterable[Violation]:
        """Whoever was promised a run has one, and a run that succeeded did what it was told last."""
        for run_id in sorted(self._promised - self._witness.pruned):
            told = self._runs[run_id]
            if run_id not in ledgers:
                if not self._is_awaited(run_id):
                    yield Violation("a_promised_run_is_there", run_id, f"gone, with {told.given[-1]!r}")
            elif ledgers[run_id][-1].state is State.SUCCEEDED and not {told.given[-1], *self._unsure} & {*told.handed}:
                yield Violation("the_last_payload_is_executed", run_id, f"{told.given[-1]!r}, and it was given {told.handed!r}")

    def _is_awaited(self, run_id: str) -> bool:
        """Whether the run before a promised one is parked, so that its turn has not come."""
        return bool(
            self._world.look(
                "SELECT 1 FROM singletons s JOIN runs r ON r.id = s.run_id WHERE s.next_id = ? AND r.state = 'needs_attention'",
                run_id,
            )
        )
