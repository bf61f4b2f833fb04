"""The numbers of lanes: claiming order, and nothing that two lanes share."""

from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.lanes import CLASS_SPAN, QUEUE_SPAN, Lane, after_group, after_lane, class_of, group_of, queue_floor

lanes = st.builds(
    Lane,
    namespace=st.sampled_from(["a", "b"]),
    queue=st.sampled_from(["mail", "other"]),
    task=st.sampled_from(["send", "read"]),
    priority=st.integers(-1000, 1000),
    concurrency_key=st.none() | st.text(min_size=1, max_size=5),
    version=st.integers(1, 3),
    fingerprint=st.sampled_from(["", "f"]),
    requires=st.sampled_from([(), (("gpu", "a100"),)]),
    uses=st.sampled_from([(), (("licence", 2),)]),
)


@given(lanes)
def test_a_lane_lies_within_its_queue(lane: Lane) -> None:
    floor = queue_floor(lane.namespace, lane.queue)
    assert 0 <= floor <= lane.id < floor + QUEUE_SPAN <= 2**63


@given(lanes, lanes)
def test_within_a_queue_the_higher_priority_comes_first(one: Lane, other: Lane) -> None:
    if (one.namespace, one.queue) == (other.namespace, other.queue) and one.priority > other.priority:
        assert one.id < other.id
        assert class_of(one.id) < class_of(other.id)


@given(lanes, lanes)
def test_lanes_of_one_key_are_one_group_and_equal_lanes_one_number(one: Lane, other: Lane) -> None:
    if one.concurrency_key == other.concurrency_key:
        assert group_of(one.id) == group_of(other.id)
    assert (one.id == other.id) == (one.holds == other.holds)


@given(lanes)
def test_a_salt_changes_the_number_and_keeps_the_group(lane: Lane) -> None:
    salted = lane.salted()
    assert salted.id != lane.id
    assert salted.holds == lane.holds
    assert (group_of(salted.id), class_of(salted.id)) == (group_of(lane.id), class_of(lane.id))


@given(lanes)
def test_a_walk_goes_on_behind_what_it_has_seen(lane: Lane) -> None:
    place = lane.id % CLASS_SPAN
    assert after_lane(lane.id) == (place + 1) % CLASS_SPAN
    assert after_group(lane.id) == 0 or after_group(lane.id) > place
