"""What a release brings with it beside its move: how often it came back at once, the lane of its new payload, rates that it closes.

Not here: whether a run may be released again, and when it is due (``core/budgets.py``).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from mainspring.core.attempts import GaveItselfBack, Outcome
from mainspring.core.policy import Policy
from mainspring.operations import limits
from mainspring.operations.claims import Claimed
from mainspring.operations.enqueue import interned
from mainspring.operations.lanes import lanes_of
from mainspring.operations.receipts import Left
from mainspring.store.database import Transaction, drive


class Ended(NamedTuple):
    """One attempt's outcome, with the jitter's number for its retry and the policy its run captured."""

    held: Claimed
    outcome: Outcome
    policy: Policy
    draw: float
    receipts: tuple[Left, ...] = ()


def prepared(tx: Transaction, ended: Sequence[Ended]) -> Sequence[Ended]:
    """Outcomes with what the database knows about those that are releases."""
    if not any(type(end.outcome) is GaveItselfBack for end in ended):
        return ended
    return _in_their_lanes(tx, _counted(tx, ended))


def close_rates(tx: Transaction, ended: Sequence[Ended]) -> None:
    """Let nothing that shares a rate with a run that was refused begin before it does."""
    refused = [(end.held.lane_id, end.outcome) for end in ended if isinstance(end.outcome, GaveItselfBack)]
    closing = [(lane_id, back) for lane_id, back in refused if back.closes is not None]
    if not closing:
        return
    lanes = lanes_of(tx, sorted({lane_id for lane_id, _ in closing}))
    for lane_id, back in closing:
        lane = lanes[lane_id]
        limits.close(tx, limits.load(tx, lane.namespace), lane, until=tx.now + back.after_us, pool=back.closes or None)


def _counted(tx: Transaction, ended: Sequence[Ended]) -> Sequence[Ended]:
    """Those that ask to come back at once, with how many times in a row that makes."""
    asked = {end.held.id for end in ended if isinstance(end.outcome, GaveItselfBack) and end.outcome.in_a_row}
    if not asked:
        return ended
    rows = tx.rows("attempts.last_end", ids=sorted(asked))
    before = {row[0]: int(msgspec.json.decode(row[1] or "{}").get("at_once", 0)) for row in rows}
    return [
        end._replace(outcome=replace(end.outcome, in_a_row=before.get(end.held.id, 0) + 1))
        if isinstance(end.outcome, GaveItselfBack) and end.held.id in asked
        else end
        for end in ended
    ]


def _in_their_lanes(tx: Transaction, ended: Sequence[Ended]) -> Sequence[Ended]:
    """Those with a payload of another version, with a lane that is there."""
    wanted = {
        end.outcome.lane for end in ended if isinstance(end.outcome, GaveItselfBack) and end.outcome.lane is not None
        and end.outcome.lane.id != end.held.lane_id
    }  # fmt: skip
    moved = drive(tx, interned(sorted(wanted, key=lambda lane: lane.id), [])) if wanted else {}
    there = {lane: moved.get(lane, lane) for lane in wanted}
    return [
        end._replace(outcome=replace(end.outcome, lane=there.get(end.outcome.lane)))
        if isinstance(end.outcome, GaveItselfBack) and end.outcome.lane is not None
        else end
        for end in ended
    ]
