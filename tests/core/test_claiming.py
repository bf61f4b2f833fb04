"""Who is served next: the decision alone."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.claiming import (
    RESERVES_AFTER,
    STARVES_AFTER,
    Plan,
    Reservation,
    Share,
    Toll,
    Waiting,
    share_out,
    split,
    starving,
)

NOW = 10_000_000_000


def lane(
    number: int, *, group: int = 0, priority: int = 0, waited: int = 0, weight: int = 1, tolls: tuple[Toll, ...] = ()
) -> Waiting:
    return Waiting(number, -priority, group, priority, NOW - waited, weight, tolls)


def shares(plan: Plan) -> dict[int, tuple[int, int]]:
    return {share.lane_id: (share.quota, share.cap) for share in plan.shares}


def test_one_lane_gets_everything() -> None:
    assert shares(share_out([lane(1)], {}, {}, most=10, now=NOW)) == {1: (10, 10)}


def test_a_higher_priority_comes_before_a_lower_one_whatever_has_waited_longer() -> None:
    plan = share_out([lane(1, priority=0, waited=RESERVES_AFTER), lane(2, priority=5)], {}, {}, most=1, now=NOW)
    assert [share.lane_id for share in sorted(plan.shares, key=lambda share: share.turn)] == [2, 1]


def test_a_noisy_key_gets_one_round_of_many_as_the_others_do() -> None:
    plan = share_out([lane(n, group=n) for n in range(100)], {}, {}, most=100, now=NOW)
    assert {share.quota for share in plan.shares} == {2}


def test_a_weight_is_a_part_of_each_round() -> None:
    gate = {7: 100}
    plan = share_out(
        [lane(1, group=1, weight=3, tolls=(Toll(7, 1),)), lane(2, group=2, tolls=(Toll(7, 1),))], gate, {}, most=8, now=NOW
    )
    assert shares(plan) == {1: (6, 6), 2: (2, 2)}


def test_a_shut_gate_hides_nothing_behind_an_open_one() -> None:
    plan = share_out([lane(1, group=1, priority=9, tolls=(Toll(7, 1),)), lane(2, group=2)], {7: 0}, {}, most=5, now=NOW)
    assert shares(plan) == {2: (5, 5)}


def test_a_head_that_needs_four_reserves_them_after_a_minute_against_equals_and_lower_ones() -> None:
    wide = lane(1, group=1, waited=RESERVES_AFTER, tolls=(Toll(7, 4),))
    others = [lane(2, group=2, tolls=(Toll(7, 1),)), lane(3, group=3, priority=1, tolls=(Toll(7, 1),))]
    plan = share_out([others[1], wide, others[0]], {7: 3}, {}, most=5, now=NOW)
    assert plan.reservations == [Reservation(7, 1, 0)]
    assert set(shares(plan)) == {3}, "only what is more urgent passes"


def test_a_head_that_has_waited_less_reserves_nothing() -> None:
    plan = share_out([lane(1, waited=RESERVES_AFTER - 1, tolls=(Toll(7, 4),))], {7: 3}, {}, most=5, now=NOW)
    assert (plan.reservations, plan.shares) == ([], [])


def test_a_reservation_of_another_claim_holds() -> None:
    kept = {7: Reservation(7, 1, 0)}
    assert share_out([lane(2, tolls=(Toll(7, 1),))], {7: 3}, kept, most=5, now=NOW).shares == []
    assert len(share_out([lane(1, tolls=(Toll(7, 4),))], {7: 4}, kept, most=5, now=NOW).shares) == 1


def test_only_what_has_waited_for_long_is_starving() -> None:
    old = starving([lane(1, waited=STARVES_AFTER), lane(2, waited=STARVES_AFTER - 1, priority=9)], NOW)
    assert [each.lane_id for each in old] == [1]


tolls = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), max_size=3, unique_by=lambda toll: toll[0])
waiting = st.lists(
    st.builds(
        lambda group, priority, waited, weight, paid: (group, priority, waited, weight, tuple(Toll(*each) for each in paid)),
        st.integers(0, 5), st.integers(-2, 2), st.integers(0, 2 * STARVES_AFTER), st.integers(1, 4), tolls,
    ),
    max_size=12,
)  # fmt: skip


@given(waiting, st.dictionaries(st.integers(1, 4), st.integers(0, 9)), st.integers(1, 30))
def test_no_gate_lets_through_more_than_it_has(
    found: list[tuple[int, int, int, int, tuple[Toll, ...]]], free: dict[int, int], most: int
) -> None:
    lanes = [lane(n, group=g, priority=p, waited=w, weight=weight, tolls=t) for n, (g, p, w, weight, t) in enumerate(found)]
    free = {gate: free.get(gate, 0) for gate in range(1, 5)}
    plan = share_out(lanes, dict(free), {}, most=most, now=NOW)
    worst = Counter[int]()
    for place in {share.place for share in plan.shares}:
        group = [share for share in plan.shares if share.place == place]
        worst += _worst(group, lanes)
    assert all(worst[gate] <= free[gate] for gate in free)


def _worst(group: list[Share], lanes: list[Waiting]) -> Counter[int]:
    """The most that a group can take of each gate: no lane beyond its cap, all together within their quota."""
    taken = Counter[int]()
    gates = {toll.gate for share in group for toll in lanes[share.lane_id].tolls}
    for gate in gates:
        costs: list[int] = []
        for share in group:
            costs += [toll.cost for toll in lanes[share.lane_id].tolls if toll.gate == gate] * share.cap
        taken[gate] = sum(sorted(costs, reverse=True)[: group[0].quota])
    return taken


def test_two_groups_never_have_one_place_although_one_between_them_gets_nothing() -> None:
    told = [(0, 1, Toll(2, 1)), (0, 0, Toll(2, 1)), (1, 0, None), (2, -1, Toll(1, 1))]
    lanes = [lane(n, group=g, priority=p, tolls=() if toll is None else (toll,)) for n, (g, p, toll) in enumerate(told)]
    plan = share_out(lanes, {1: 1, 2: 1}, {}, most=2, now=NOW)
    assert {share.lane_id for share in plan.shares} == {0, 2, 3}
    assert len({share.place for share in plan.shares}) == 3


@given(waiting, st.integers(1, 30))
def test_whatever_is_open_is_served_unless_the_claim_is_full(
    found: list[tuple[int, int, int, int, tuple[Toll, ...]]], most: int
) -> None:
    lanes = [lane(n, group=g, priority=p, waited=w, weight=weight) for n, (g, p, w, weight, _) in enumerate(found)]
    assert {share.lane_id for share in share_out(lanes, {}, {}, most=most, now=NOW).shares} == {each.lane_id for each in lanes}


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=1), st.lists(st.integers(1, 20), min_size=1, max_size=40)
)
def test_queues_share_claims_by_weight_over_time(weights: dict[str, int], claims: list[int]) -> None:
    credit, given_out = dict[str, float](), Counter[str]()
    for most in claims:
        parts, credit = split(most, weights, credit)
        assert sum(parts.values()) == most
        given_out.update(parts)
    total = sum(weights.values())
    for name, weight in weights.items():
        assert abs(given_out[name] - sum(claims) * weight / total) <= len(weights)
