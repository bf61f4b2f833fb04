"""Parking what a restored backup left unfinished: nobody knows whether it ran since, so a person resumes, fails or cancels it.

A page at a time, before anything else is planned. Those that wait for another run stay blocked: they begin when somebody lets that
one go on. Not here: what tells that a database was restored (``core/restoring.py``).
"""

from mainspring.core.attempts import move
from mainspring.core.states import WAITING_FOR_TIME, EventType, State
from mainspring.operations import moves
from mainspring.store.database import Transaction

PAGE = 500
RESTORED = "restore"
_PARKED = WAITING_FOR_TIME | {State.QUEUED, State.RUNNING}


def step(tx: Transaction, before: int) -> int:
    """Park some of the runs that were created up to ``before``; how many. None: all are. A late word of whoever held one changes
    nothing, for its run is no longer running."""
    ids = [row[0] for row in tx.rows("parking.next", before=before, most=PAGE)]
    if not ids:
        tx.execute("parking.done")
        return 0
    locked = moves.lock_runs(tx, ids)
    told = [
        (run, move(run, EventType.PARKED, run.state, State.NEEDS_ATTENTION, actor="system", reason=RESTORED))
        for run in locked.values()
        if run.state in _PARKED
    ]
    return len(moves.apply(tx, told))
