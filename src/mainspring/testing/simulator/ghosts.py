"""Ghosts: attempts that speak under a fence that is over, past every check a worker makes. Only the database's own guards are left.

Here: what a ghost says, and that nobody may listen. Not here: attempts that are late in good faith (``code``).
"""

from random import Random

from mainspring.core.attempts import Failed, GaveItselfBack, Interrupted, Outcome, Succeeded, Unstarted
from mainspring.errors import WorldTrouble
from mainspring.operations import attempts
from mainspring.operations.attempts import Beat, Ended
from mainspring.runtime.worker import Assignment
from mainspring.store.database import Transaction
from mainspring.testing.simulator.witness import Witness
from mainspring.testing.simulator.world import Line, World

_WORDS: tuple[Outcome, ...] = (
    *(3 * (Succeeded(b'"a ghost"'),)),
    Failed(code="ghost", message="scripted"),
    Failed(code="ghost", message="scripted, for good", final=True),
    GaveItselfBack(after_us=0),
    Interrupted("ghost"),
    Unstarted(),
)
_TOKEN = 6  # the column of runs


class Ghosts:
    """Says something about a run under a fence that is over."""

    def __init__(self, world: World, witness: Witness) -> None:
        self._world = world
        self._witness = witness
        self._line = Line(world, "ghost")

    def speak(self, dice: Random) -> None:
        """One of them says one thing. Nothing may follow."""
        replaced, gone = self._gone()
        if not gone:
            return
        assignment = dice.choice(replaced or gone)
        claimed = assignment.claimed
        say = dice.choice((self._finish, self._finish, self._beat, self._start))
        before = self._look(claimed.id)
        try:
            is_heard = self._line.write("ghost", lambda tx: say(tx, assignment, dice))
        except WorldTrouble:
            return
        repeats = before[0][_TOKEN] == claimed.token  # the fence is the last there was: a repeated word is no lost one
        if (is_heard and not repeats) or self._look(claimed.id) != before:
            self._witness.accuse("nobody_listens_to_an_old_fence", claimed.id, f"{say.__name__} under token {claimed.token}")

    def _finish(self, tx: Transaction, assignment: Assignment, dice: Random) -> bool:
        end = Ended(assignment.claimed, dice.choice(_WORDS), assignment.policy, 0.0)
        return not attempts.finish(tx, [end], actor="worker:ghost", limits=dice.random() < 0.2)

    @staticmethod
    def _beat(tx: Transaction, assignment: Assignment, dice: Random) -> bool:
        del dice
        return bool(attempts.heartbeat(tx, [Beat(assignment.claimed.id, assignment.claimed.token, b"a ghost", None)]))

    @staticmethod
    def _start(tx: Transaction, assignment: Assignment, dice: Random) -> bool:
        del dice
        return attempts.start(tx, assignment.claimed.id, assignment.claimed.token)

    def _gone(self) -> tuple[list[Assignment], list[Assignment]]:
        """Attempts whose fence is over, of late; first those whose run somebody else holds now, where a word does most harm."""
        latest = self._witness.claims[-30:]
        ids = ", ".join(f"'{each.claimed.id}'" for each in latest)
        now = {row[0]: row[1:] for row in self._world.look(f"SELECT id, token, worker_id FROM runs WHERE id IN ({ids})")}
        there = [each for each in latest if each.claimed.id in now]
        replaced = [each for each in there if now[each.claimed.id][0] > each.claimed.token and now[each.claimed.id][1] is not None]
        return replaced, [each for each in there if now[each.claimed.id][0] > each.claimed.token or now[each.claimed.id][1] is None]

    def _look(self, run_id: str) -> list[tuple[object, ...]]:
        return [
            *self._world.look("SELECT * FROM runs WHERE id = ?", run_id),
            *self._world.look("SELECT count(*) FROM events WHERE run_id = ?", run_id),
            *self._world.look("SELECT * FROM checkpoints WHERE run_id = ?", run_id),
        ]
