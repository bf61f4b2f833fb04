"""What one transaction left over goes on here: dependants to be let go, members of a batch to be cancelled, batches nobody sealed.

Each piece is a short transaction, and any number of processes may do them.
"""

from functools import partial

from mainspring.core.durations import DAY
from mainspring.operations import batches, dependencies
from mainspring.store.database import Database, Transaction

#: How long a batch may be open without anybody joining it before its callbacks are parked.
IDLE_US = DAY
_MOST_UPSTREAMS = 10
_MOST_BATCHES = 10
_MOST_MEMBERS = 100


def go_on(database: Database, *, actor: str, idle_us: int = IDLE_US) -> int:
    """Do one piece of everything that was left over; how many pieces there were. 0: nothing is left."""
    row = database.read("batches.upkeep", lambda tx: tx.one("batches.upkeep", before=tx.now - idle_us))
    releases, cancels, idle = row or (False, False, False)
    done = 0
    if releases:
        done += database.write("dependencies.go_on", lambda tx: dependencies.go_on(tx, most=_MOST_UPSTREAMS))
    if cancels:
        done += database.write("batches.cancel_some", partial(_cancel_some, actor=actor))
    if idle:
        done += database.write("batches.park_idle", lambda tx: batches.park_idle(tx, before=tx.now - idle_us, most=_MOST_BATCHES))
    return done


def _cancel_some(tx: Transaction, *, actor: str) -> int:
    found = batches.cancelling(tx, most=1)
    for batch_id, after in found:
        batches.cancel_some(tx, batch_id, after, most=_MOST_MEMBERS, actor=actor, reason=None)
    return len(found)
