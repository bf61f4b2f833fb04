"""Changing the captured policy of runs that wait, on request; each change is on the run's ledger.

Not here: what a policy is (``core/policy.py``). A run that is held keeps the policy it was claimed with.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mainspring.core.attempts import Move, move
from mainspring.core.policy import Policy
from mainspring.core.run import Run
from mainspring.core.states import WAITING, EventType
from mainspring.operations import moves, views
from mainspring.operations.enqueue import intern, policy_row
from mainspring.operations.lanes import lanes_of
from mainspring.store.database import Transaction

#: One policy to another.
Change = Callable[[Policy], Policy]

_FIRST_ID = "00000000-0000-0000-0000-000000000000"


class Applied(NamedTuple):
    """How many runs have another policy now, and where the next call goes on; None at the end."""

    runs: int
    cursor: str | None


def apply_to(tx: Transaction, ids: Sequence[str], change: Change, *, namespace: str, actor: str) -> int:
    """Change the policy of those of these runs that wait; how many had another one before."""
    locked = moves.lock_runs(tx, ids)
    lanes = lanes_of(tx, [run.lane_id for run in locked.values()])
    waiting = [run for run in locked.values() if run.state in WAITING and lanes[run.lane_id].namespace == namespace]
    if not waiting:
        return 0
    before = views.policies(tx, [run.policy_id for run in waiting])
    changed = {number: policy_row(change(policy)) for number, policy in before.items()}
    wanted = [(run, changed[run.policy_id][0]) for run in waiting if changed[run.policy_id][0] != run.policy_id]
    if wanted:
        query = intern([], sorted({changed[run.policy_id] for run, _ in wanted}))
        tx.execute(query.statement, **query.params)
    return len(moves.apply(tx, [(run, _applied(run, number, actor)) for run, number in wanted]))


def apply_to_task(
    tx: Transaction, task: str, change: Change, *, namespace: str, actor: str, cursor: str | None, most: int
) -> Applied:
    """Change the policy of the waiting runs of a task, up to ``most`` of them, from ``cursor`` on."""
    rows = tx.rows("policies.waiting", namespace=namespace, task=task, after=cursor or _FIRST_ID, most=most)
    ids = [row[0] for row in rows]
    applied = apply_to(tx, ids, change, namespace=namespace, actor=actor) if ids else 0
    return Applied(applied, ids[-1] if len(ids) == most else None)


def _applied(run: Run, policy_id: int, actor: str) -> Move:
    """What it waits for, and until when, stays as it is."""
    return move(run, EventType.POLICY_APPLIED, run.state, run.state, actor=actor, reason=run.reason, policy_id=policy_id)
