"""Schedules as a shape of the simulator, with an oracle that counts instants by arithmetic.

Here: a few schedules that come due every few seconds, and what people do to them. The promise: of every revision, each instant that
lies in its time and behind the cursor has one fate, a row or a place in a range, or waits in a backlog, and there are no others.
Not here: that fates and runs say the same, and that slots are kept (``testing/occurring.py``).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any, ClassVar

import msgspec

from mainspring.client import Request
from mainspring.core.durations import SECOND, as_datetime
from mainspring.core.events import Event
from mainspring.core.lanes import Lane
from mainspring.core.rules import Interval
from mainspring.errors import MainspringError, NeverDue
from mainspring.testing.invariants import Violation
from mainspring.testing.simulator.jobs import POLICIES
from mainspring.testing.simulator.nodes import ClientNode
from mainspring.testing.simulator.scenario import Kind
from mainspring.testing.simulator.witness import Witness
from mainspring.testing.simulator.world import World

_NAMES = ("s1", "s2", "s3")
_LANES = (Lane(namespace="default", queue="a", task="t"), Lane(namespace="default", queue="b", task="t", priority=5))
_SPANS = (2, 3, 5, 7)
_OVERLAPS: tuple[Any, ...] = (
    "forbid", "allow", "skip", "buffer_one", "queue_latest", "replace", {"policy": "forbid", "max_concurrency": 2, "buffer_max": 3},
    "terminate", {"policy": "terminate", "replace_grace": "2s"}, {"policy": "forbid", "retries_hold_slot": True},
)  # fmt: skip
_MISFIRES: tuple[Any, ...] = (
    {"policy": "run_once_if_late", "grace": "1s"},
    {"policy": "skip", "grace": "2s"},
    {"policy": "catch_up", "grace": "1s", "max": 3, "spacing": "1s"},
    {"policy": "catch_up", "grace": "500ms", "max": 2, "order": "newest_first"},
)
_END = 1 << 62


class Scheduled:
    """Schedules that come due while the fleet fails."""

    kinds: ClassVar[Mapping[str, Kind]] = {
        "put schedule": Kind(3, "user"),
        "pause schedule": Kind(1, "user"),
        "resume schedule": Kind(2, "user"),
        "trigger": Kind(2, "user"),
        "delete schedule": Kind(1, "user"),
    }

    def __init__(self, world: World, witness: Witness) -> None:
        self._world = world
        self._witness = witness
        self._said: dict[str, tuple[Interval, Request, dict[str, Any]]] = {}

    def calls(self) -> Mapping[str, Callable[[ClientNode, Random], None]]:
        """What each kind of step does."""
        return {
            "put schedule": self._put,
            "pause schedule": lambda client, dice: self._try(client, "pause", dice.choice(_NAMES), reason="a person"),
            "resume schedule": lambda client, dice: self._try(client, "resume", dice.choice(_NAMES)),
            "trigger": lambda client, dice: self._try(client, "trigger", dice.choice(_NAMES), reason="a person"),
            "delete schedule": lambda client, dice: self._try(client, "delete", dice.choice(_NAMES)),
        }

    def begin(self, client: ClientNode) -> None:
        """Nothing: the first ones are put in the story."""

    def heal(self, client: ClientNode) -> None:
        """Let nothing more come due; who waits for a slot still gets one."""
        for name, (rule, request, options) in self._said.items():
            self._try(client, "resume", name)
            ended = options | {"enabled": True, "end_at": as_datetime(client.system.now())}
            try:
                client.client.schedules.put(name, rule, request, **ended)
            except NeverDue:  # it never was, and nobody waits
                self._try(client, "delete", name)

    def excuses(self, violation: Violation) -> bool:
        """Nothing is right for a reason that the rows do not know."""
        return False

    def _put(self, client: ClientNode, dice: Random) -> None:
        rule = Interval(every_us=dice.choice(_SPANS) * SECOND)
        options = {"overlap": dice.choice(_OVERLAPS), "misfire": dice.choice(_MISFIRES), "enabled": dice.random() < 0.9}
        body = msgspec.json.encode({"dice": dice.randrange(10**9)})
        request = Request(lane=dice.choice(_LANES), policy=dice.choice(POLICIES), body=body)
        name = dice.choice(_NAMES)
        self._said[name] = rule, request, options
        self._try(client, "put", name, rule, request, **options)

    @staticmethod
    def _try(client: ClientNode, what: str, *given: Any, **options: Any) -> None:
        with suppress(MainspringError):
            getattr(client.client.schedules, what)(*given, **options)

    # -- the end of the story -----------------------------------------------------------------------------------------

    def verify(self, ledgers: Mapping[str, Sequence[Event]]) -> Iterable[Violation]:
        """Each instant has one fate, and nothing else has any."""
        del ledgers
        for schedule_id, created_at, cursor_at in self._world.look(
            "SELECT s.id, s.created_at, c.cursor_at FROM schedules s JOIN schedule_cursors c ON c.schedule_id = s.id"
        ):
            for revision, expected in self._expected(schedule_id, created_at, cursor_at):
                found = self._found(schedule_id, revision)
                if found != expected:
                    detail = f"revision {revision}: {found} instants have a fate, {expected} were due"
                    yield Violation("every_instant_has_one_fate", schedule_id, detail)

    def _expected(self, schedule_id: str, created_at: int, cursor_at: int) -> Iterator[tuple[int, int]]:
        """How many instants each revision had."""
        revisions = self._world.look(
            "SELECT revision, spec FROM schedule_revisions WHERE schedule_id = ? ORDER BY revision", schedule_id
        )
        edits = self._world.look(
            "SELECT data FROM schedule_events WHERE schedule_id = ? AND type = 'edited' ORDER BY seq", schedule_id
        )
        ends = [int(msgspec.json.decode(data)["settled_to"]) for (data,) in edits]
        for (revision, text), at, end in zip(revisions, [created_at, *ends], [*ends, _END], strict=True):
            spec = msgspec.json.decode(text)
            span = int(str(spec["rule"]["every"]).removesuffix("s")) * SECOND
            upto = min(cursor_at, end, spec["end_at"] or _END)
            first, last = (max(at, created_at) - created_at) // span, (upto - created_at) // span
            yield revision, max(0, last - first) if spec["enabled"] else 0

    def _found(self, schedule_id: str, revision: int) -> int:
        ((rows, ranged, waiting_outside),) = self._world.look(
            "SELECT (SELECT count(*) FROM occurrences WHERE schedule_id = ? AND revision = ? AND origin = 'planned'),"
            " (SELECT coalesce(sum(count), 0) FROM occurrence_ranges WHERE schedule_id = ? AND revision = ?),"
            " (SELECT coalesce(sum(number), 0) FROM schedule_backlogs WHERE schedule_id = ? AND revision = ?)",
            *(schedule_id, revision) * 3,
        )  # fmt: skip
        return int(rows) + int(ranged) + int(waiting_outside)
