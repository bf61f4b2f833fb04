"""Who is served next: one claim's share for each lane in which something waits. A decision, and nothing that acts on it.

Order: priority; then keys in turn, round after round, ``weight`` runs a round, so that a key with a hundred thousand runs delays
another key's by one round; within a key by due time. A lane gets no more than its gates (limits) let through; a gate that is shut
hides nothing, since the lane behind it is passed over whole. A lane whose head needs several units of one limit, and has waited
for a minute, reserves that limit: nothing of its own or a lower priority begins under it meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mainspring.core.durations import MINUTE

#: After so long, a run that needs several units at once reserves them; after so long, one is starving.
RESERVES_AFTER = 1 * MINUTE
STARVES_AFTER = 15 * MINUTE


class Toll(NamedTuple):
    """What one run of a lane takes of one gate."""

    gate: int
    cost: int


class Waiting(NamedTuple):
    """A lane with queued runs. ``turn`` orders what is served first (smaller first): priority, and the worker's own weights of its
    queues; lanes with one ``group`` (those of one key) are served as one, by due time."""

    lane_id: int
    turn: int
    group: int
    priority: int
    due_at: int
    weight: int = 1
    tolls: tuple[Toll, ...] = ()


class Share(NamedTuple):
    """Up to ``cap`` heads of a lane, of which its group as a whole gets ``quota``; ``place`` orders groups, round after round."""

    lane_id: int
    place: int
    turn: int
    weight: int
    quota: int
    cap: int


class Reservation(NamedTuple):
    """A gate kept for the head of one lane against everything of its priority or a lower one."""

    gate: int
    lane_id: int
    priority: int


@dataclass(slots=True)
class Plan:
    """What one claim does: shares in order, and the reservations to be written first; ``aged`` are lanes served for their age."""

    shares: list[Share] = field(default_factory=list)
    reservations: list[Reservation] = field(default_factory=list)
    aged: set[int] = field(default_factory=set)


def share_out(lanes: Sequence[Waiting], left: dict[int, int], reserved: Mapping[int, Reservation], *, most: int, now: int) -> Plan:
    """Shares for up to ``most`` runs. ``lanes`` come in the order of the walk. ``left`` says what each gate still lets through;
    what is given out here is taken from it."""
    plan = Plan()
    kept = dict(reserved)
    for lane in lanes:
        for toll in lane.tolls:
            if toll.cost > 1 and _must_reserve(lane, toll, left, kept, now):
                kept[toll.gate] = Reservation(toll.gate, lane.lane_id, lane.priority)
                plan.reservations.append(kept[toll.gate])
    groups: dict[tuple[int, int], list[Waiting]] = {}
    for lane in lanes:
        if not lane.tolls or _is_open(lane, left, kept):
            groups.setdefault((lane.turn, lane.group), []).append(lane)
    turns: dict[int, list[list[Waiting]]] = {}
    for (turn, _), members in groups.items():
        turns.setdefault(turn, []).append(members)
    place = 0
    for turn in sorted(turns):
        plan.shares += _of_one_turn(turns[turn], left, most, first_place=place)
        place += len(turns[turn])
    return plan


def _must_reserve(lane: Waiting, toll: Toll, left: Mapping[int, int], kept: Mapping[int, Reservation], now: int) -> bool:
    waited = now - lane.due_at >= RESERVES_AFTER
    held = kept.get(toll.gate)
    return waited and left[toll.gate] < toll.cost and (held is None or held.priority < lane.priority)


def _is_open(lane: Waiting, left: Mapping[int, int], kept: Mapping[int, Reservation]) -> bool:
    """Whether one run of a lane gets through all its gates."""
    for gate, cost in lane.tolls:
        if left[gate] < cost:
            return False
        held = kept.get(gate) if kept else None
        if held is not None and held.lane_id != lane.lane_id and lane.priority <= held.priority:
            return False
    return True


def _of_one_turn(groups: Sequence[Sequence[Waiting]], left: dict[int, int], most: int, first_place: int) -> list[Share]:
    """The shares of lanes of one priority. Without gates a group may take twice its part, since others may hold less than theirs;
    behind gates it takes exactly its part, since what it does not use would be kept from others."""
    shares: list[Share] = []
    weights = sum(group[0].weight for group in groups)
    quotas = _rounds(groups, left, most)
    for place, (group, quota) in enumerate(zip(groups, quotas, strict=True), first_place):
        if quota:
            shares += _behind_gates(group, place, group[0].weight, quota, left)
        elif not _is_gated(group):
            weight = group[0].weight
            part = most if len(groups) == 1 else min(most, max(weight, -(-2 * most * weight // weights)))
            shares += [Share(lane.lane_id, place, lane.turn, weight, part, part) for lane in group]
    return shares


def _is_gated(group: Sequence[Waiting]) -> bool:
    return bool(group[0].tolls) if len(group) == 1 else any(lane.tolls for lane in group)


def _rounds(groups: Sequence[Sequence[Waiting]], left: dict[int, int], most: int) -> list[int]:
    """How many runs each group behind gates gets: in turn, ``weight`` a round, until a gate or the claim is full. What all lanes of
    a group pay is taken from ``left``."""
    quotas = [0] * len(groups)
    gated = [(number, group[0].weight, _common(group)) for number, group in enumerate(groups) if _is_gated(group)]
    total = 0
    while gated and total < most:
        going_on = []
        for each in gated:
            number, weight, tolls = each
            part = min(weight if len(groups) > 1 else most, most - total)
            for gate, cost in tolls:
                if left[gate] < part * cost:
                    part = left[gate] // cost
            if part <= 0:
                continue
            quotas[number] += part
            total += part
            for gate, cost in tolls:
                left[gate] -= part * cost
            going_on.append(each)
        gated = going_on
    return quotas


def _common(group: Sequence[Waiting]) -> tuple[Toll, ...]:
    """What every run of a group pays, whichever lane it is in."""
    if len(group) == 1:
        return group[0].tolls
    first, *rest = group
    return tuple(toll for toll in first.tolls if all(toll in lane.tolls for lane in rest))


def _behind_gates(group: Sequence[Waiting], place: int, weight: int, quota: int, left: dict[int, int]) -> list[Share]:
    """Caps for each lane of a group, by the gates that not all of its lanes pay, those with the oldest head first; what all of them
    pay is paid already."""
    if len(group) == 1:
        return [Share(group[0].lane_id, place, group[0].turn, weight, quota, quota)]
    common = _common(group)
    shares = []
    for lane in sorted(group, key=lambda lane: (lane.due_at, lane.lane_id)):
        own = [toll for toll in lane.tolls if toll not in common]
        cap = min((left[toll.gate] // toll.cost for toll in own), default=quota)
        cap = min(cap, quota)
        if cap > 0:
            for toll in own:
                left[toll.gate] -= cap * toll.cost
            shares.append(Share(lane.lane_id, place, lane.turn, weight, quota, cap))
    return shares


def starving(lanes: Sequence[Waiting], now: int) -> list[Waiting]:
    """The lanes whose head has waited for so long that its class no longer counts, as one group: the oldest is served first. Those
    of the most urgent class are served anyway."""
    first = min((lane.turn for lane in lanes), default=0)
    old = [lane for lane in lanes if lane.turn > first and now - lane.due_at >= STARVES_AFTER]
    return [lane._replace(turn=first - 1, group=-1, weight=1) for lane in old]


def split(most: int, weights: Mapping[str, int], credit: Mapping[str, float]) -> tuple[dict[str, int], dict[str, float]]:
    """Divide ``most`` runs among queues by weight; ``credit`` carries what one division could not give over to the next."""
    total = sum(weights.values())
    due = {name: credit.get(name, 0.0) + most * weight / total for name, weight in weights.items()}
    parts = {name: int(share) for name, share in due.items()}
    for name in sorted(due, key=lambda name: (parts[name] - due[name], name))[: most - sum(parts.values())]:
        parts[name] += 1
    return parts, {name: due[name] - parts[name] for name in due}
