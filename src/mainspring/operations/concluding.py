"""An attempt's success inside a transaction of its user's: it commits with what user code wrote there, or not at all.

Here: that one move, under the fence. Not here: whose transaction it is and how it ends (``runtime/concluding``), and outcomes that
a worker writes by itself (``attempts``).
"""

from mainspring.core.attempts import Succeeded, settle
from mainspring.core.policy import Policy
from mainspring.core.signals import Cancelled
from mainspring.core.states import State
from mainspring.errors import LeaseLost
from mainspring.operations import moves
from mainspring.operations.claims import Claimed
from mainspring.store.database import Transaction


def conclude(tx: Transaction, held: Claimed, result: bytes | None, policy: Policy, *, actor: str) -> None:
    """End a run that this attempt still holds as succeeded, with everything that follows from it.

    The worker's own word comes later, and finds what it would have written.

    Raises:
        Cancelled: the run was asked to stop meanwhile. LeaseLost: it is in other hands. Nothing was written.
    """
    change = settle(held, State.RUNNING, Succeeded(result), policy, draw=0.0, actor=actor)
    if moves.apply(tx, [(held, change)]):
        return
    run = moves.lock_runs(tx, [held.id]).get(held.id)
    if run is not None and run.token == held.token and run.state is State.CANCELLING:
        raise Cancelled("cancelled")
    raise LeaseLost(f"run {held.id} is no longer held under token {held.token}; nothing of this transaction may be kept")
