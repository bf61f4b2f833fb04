"""What a written time becomes when the clocks change, to the second: the table of the specification."""

from __future__ import annotations

import pytest

from mainspring.core.rule_building import cron, every, rrule
from mainspring.core.rules import Rule
from mainspring.core.zone import Gap, Overlap, Policy, is_older, real_seconds, resolved, zone_of
from mainspring.errors import BrokenInvariant
from mainspring.zones import zone
from tests.support.occurring import BERLIN, LORD_HOWE, NY, bound, due, instant, shown, upcoming, zone_since


@pytest.mark.case("schedules", 1)
@pytest.mark.parametrize(
    ("gap", "wanted"),
    [(None, ["2026-03-08T07:00Z"]), ("at_transition", ["2026-03-08T07:00Z"]), ("shift", ["2026-03-08T07:30Z"]), ("skip", [])],
)
def test_a_time_that_does_not_exist_is_due_as_its_policy_says(gap: str | None, wanted: list[str]) -> None:
    rule = cron("30 2 * * *", tz=NY, dst={"gap": gap} if gap else None)
    assert due(rule, "2026-03-08T05:00Z", "2026-03-09T04:00Z") == wanted


@pytest.mark.case("schedules", 2)
@pytest.mark.parametrize(
    ("overlap", "wanted"),
    [
        (None, ["2026-11-01T05:30Z"]),
        ("second", ["2026-11-01T06:30Z"]),
        ("both", ["2026-11-01T05:30Z", "2026-11-01T06:30Z"]),
    ],
)
def test_a_time_that_exists_twice_is_due_as_its_policy_says(overlap: str | None, wanted: list[str]) -> None:
    rule = cron("30 1 * * *", tz=NY, dst={"overlap": overlap} if overlap else None)
    assert due(rule, "2026-11-01T04:00Z", "2026-11-02T12:00Z") == [*wanted, "2026-11-02T06:30Z"]


@pytest.mark.case("schedules", 3)
def test_a_wildcard_hour_runs_in_every_real_hour_and_a_range_once_per_written_one() -> None:
    hours = ["2026-11-01T04:00Z", "2026-11-01T05:00Z", "2026-11-01T06:00Z", "2026-11-01T07:00Z"]
    assert due(cron("0 * * * *", tz=NY), hours[0], hours[-1]) == hours
    assert due(cron("0 0-23 * * *", tz=NY), hours[0], hours[-1]) == [hour for hour in hours if hour != "2026-11-01T06:00Z"]


@pytest.mark.case("schedules", 4)
def test_a_wildcard_in_a_missing_hour_is_not_made_up_for() -> None:
    assert due(cron("*/15 2 * * *", tz=NY), "2026-03-08T05:00Z", "2026-03-09T05:59Z") == []
    assert due(cron("*/30 1-3 * * *", tz=NY), "2026-03-08T05:00Z", "2026-03-08T12:00Z") == [
        "2026-03-08T06:00Z", "2026-03-08T06:30Z", "2026-03-08T07:00Z", "2026-03-08T07:30Z",
    ]  # fmt: skip


@pytest.mark.case("schedules", 5)
def test_every_quarter_of_an_hour_goes_through_the_doubled_one_without_hole_or_double() -> None:
    quarters = due(cron("*/15 * * * *", tz=BERLIN), "2026-10-25T00:00Z", "2026-10-25T02:00Z")
    assert quarters == [f"2026-10-25T{hour:02}:{minute:02}Z" for hour in (0, 1) for minute in (0, 15, 30, 45)] + [
        "2026-10-25T02:00Z"
    ]


@pytest.mark.case("schedules", 6)
def test_a_night_job_in_berlin_runs_once_on_each_day_and_is_never_an_hour_late() -> None:
    rule = cron("30 2 * * *", tz=BERLIN)
    assert due(rule, "2026-03-28T12:00Z", "2026-03-29T12:00Z") == ["2026-03-29T01:00Z"]
    assert due(rule, "2026-10-24T12:00Z", "2026-10-26T12:00Z") == ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]


@pytest.mark.case("schedules", 7)
@pytest.mark.parametrize(("tz", "wanted"), [("Africa/Cairo", "2026-04-23T22:00Z"), ("America/Santiago", "2026-09-06T04:00Z")])
def test_a_midnight_that_does_not_exist_fires_at_the_transition(tz: str, wanted: str) -> None:
    rule = cron("0 0 * * *", tz=tz)
    assert wanted in due(rule, wanted, wanted)
    assert len(due(rule, shown(instant(wanted) - 12 * 3600 * 1_000_000), shown(instant(wanted) + 12 * 3600 * 1_000_000))) == 1


@pytest.mark.case("schedules", 8)
@pytest.mark.parametrize(
    ("tz", "expression", "since", "wanted"),
    [
        ("Atlantic/Azores", "0 0 * * *", "2026-10-24T12:00Z", "2026-10-25T00:00Z"),
        ("America/Nuuk", "30 23 * * *", "2026-10-24T12:00Z", "2026-10-25T00:30Z"),
    ],
)
def test_an_hour_that_comes_twice_about_midnight_fires_once(tz: str, expression: str, since: str, wanted: str) -> None:
    assert due(cron(expression, tz=tz), since, "2026-10-25T12:00Z") == [wanted]


@pytest.mark.case("schedules", 9)
def test_a_gap_of_half_an_hour_is_no_special_case() -> None:
    rule = cron("15 2 * * *", tz=LORD_HOWE)
    assert due(rule, "2026-10-03T12:00Z", "2026-10-04T12:00Z") == ["2026-10-03T15:30Z"]
    assert due(cron("15 2 * * *", tz=LORD_HOWE, dst={"gap": "shift"}), "2026-10-03T12:00Z", "2026-10-04T12:00Z") == [
        "2026-10-03T15:45Z"
    ]


@pytest.mark.case("schedules", 10)
def test_a_doubled_half_hour_is_no_special_case() -> None:
    assert upcoming(cron("45 1 * * *", tz=LORD_HOWE), "2026-04-04T12:00Z", 2) == ["2026-04-04T14:45Z", "2026-04-05T15:15Z"]
    assert upcoming(cron("45 1 * * *", tz=LORD_HOWE, dst={"overlap": "second"}), "2026-04-04T12:00Z", 1) == ["2026-04-04T15:15Z"]


@pytest.mark.case("schedules", 11)
def test_hours_about_a_change_of_half_an_hour_are_those_of_the_wall() -> None:
    assert due(cron("0 * * * *", tz=LORD_HOWE), "2026-04-04T13:30Z", "2026-04-04T17:00Z") == [
        "2026-04-04T14:00Z", "2026-04-04T15:30Z", "2026-04-04T16:30Z",
    ]  # fmt: skip
    assert "2026-10-03T15:30Z" in due(cron("30 * * * *", tz=LORD_HOWE), "2026-10-03T15:00Z", "2026-10-03T16:00Z")


@pytest.mark.case("schedules", 12)
def test_whole_hours_of_a_zone_with_an_odd_offset_are_no_whole_hours_of_utc() -> None:
    assert upcoming(cron("0 * * * *", tz="Asia/Kolkata"), "2026-04-04T18:15Z", 1) == ["2026-04-04T18:30Z"]
    assert upcoming(cron("0 * * * *", tz="Asia/Kathmandu"), "2026-04-04T18:01Z", 1) == ["2026-04-04T18:15Z"]


@pytest.mark.case("schedules", 13)
def test_two_written_times_that_fall_on_one_instant_are_due_once() -> None:
    rule = cron("30 1,2 * * *", tz="Antarctica/Troll")
    assert due(rule, "2026-03-29T00:00Z", "2026-03-29T12:00Z") == ["2026-03-29T01:00Z"]
    (fire,) = bound(rule).preview(instant("2026-03-29T00:59Z"), 1)
    assert fire.notes[0].told == (
        "2026-03-29T01:30:00 does not exist: moved to 2026-03-29T03:00:00; "
        "2026-03-29T02:30:00 does not exist: moved to 2026-03-29T03:00:00"
    )


@pytest.mark.case("schedules", 14)
def test_doubled_times_are_due_in_order_of_time() -> None:
    assert due(cron("15,45 1 * * *", tz=NY, dst={"overlap": "both"}), "2026-11-01T04:00Z", "2026-11-01T12:00Z") == [
        "2026-11-01T05:15Z", "2026-11-01T05:45Z", "2026-11-01T06:15Z", "2026-11-01T06:45Z",
    ]  # fmt: skip


@pytest.mark.case("schedules", 15)
def test_a_zone_that_changes_its_offset_for_good_repeats_no_fixed_time() -> None:
    assert due(cron("30 23 29 2 *", tz="Asia/Almaty"), "2024-02-28T00:00Z", "2024-03-02T00:00Z") == ["2024-02-29T17:30Z"]


@pytest.mark.case("schedules", 16)
@pytest.mark.parametrize(
    ("gap", "wanted"),
    [
        ("at_transition", ["2011-12-29T22:00Z", "2011-12-30T10:00Z", "2011-12-30T22:00Z"]),
        ("skip", ["2011-12-29T22:00Z", "2011-12-30T22:00Z"]),
        ("shift", ["2011-12-29T22:00Z", "2011-12-30T22:00Z"]),
    ],
)
def test_a_day_that_a_zone_left_out_follows_the_policy(gap: str, wanted: list[str]) -> None:
    rule = cron("0 12 * * *", tz="Pacific/Apia", dst={"gap": gap})
    assert due(rule, "2011-12-29T12:00Z", "2011-12-31T12:00Z") == wanted


@pytest.mark.case("schedules", 17)
def test_a_count_passes_over_what_does_not_exist() -> None:
    rule = rrule("FREQ=DAILY;COUNT=3", start="2026-03-07T02:30", tz=NY)
    assert due(rule, "2026-03-01T00:00Z", "2026-04-01T00:00Z") == ["2026-03-07T07:30Z", "2026-03-09T06:30Z", "2026-03-10T06:30Z"]
    moved = rrule("FREQ=DAILY;COUNT=3", start="2026-03-07T02:30", tz=NY, dst={"gap": "shift"})
    assert due(moved, "2026-03-01T00:00Z", "2026-04-01T00:00Z") == ["2026-03-07T07:30Z", "2026-03-08T07:30Z", "2026-03-09T06:30Z"]


@pytest.mark.case("schedules", 18)
def test_elapsed_time_knows_no_clock_change_and_a_wall_time_does() -> None:
    assert due(every("24h", anchor="2026-03-07T14:00Z"), "2026-03-07T00:00Z", "2026-03-09T23:00Z") == [
        "2026-03-07T14:00Z", "2026-03-08T14:00Z", "2026-03-09T14:00Z",
    ]  # fmt: skip
    assert due(cron("0 9 * * *", tz=NY), "2026-03-07T00:00Z", "2026-03-09T23:00Z") == [
        "2026-03-07T14:00Z", "2026-03-08T13:00Z", "2026-03-09T13:00Z",
    ]  # fmt: skip


@pytest.mark.case("schedules", 19)
def test_newer_zone_data_move_an_instant_and_say_so_by_the_hash_of_the_zone() -> None:
    new = zone("America/Vancouver")
    assert new is not None
    old = zone_since(new, "2026-11-01T09:00Z", -8 * 3600, "2026.1")
    rule = cron("30 8 2 11 *", tz="America/Vancouver")
    assert due(rule, "2026-11-02T00:00Z", "2026-11-03T00:00Z", zones=lambda _: old) == ["2026-11-02T16:30Z"]
    assert due(rule, "2026-11-02T00:00Z", "2026-11-03T00:00Z") == ["2026-11-02T15:30Z"]
    assert old.hash != new.hash
    assert is_older(old.version, new.version)
    assert not is_older(new.version, old.version)


def test_versions_of_zone_data_compare_by_number_and_not_by_letter() -> None:
    assert is_older("2026.2", "2026.10")
    assert is_older("2025.3", "2026.1")
    assert not is_older("2026.1", "2026.1")
    assert is_older("2026.1rc", "2026.1")


def test_a_rule_without_seconds_of_its_own_meets_offsets_of_seconds() -> None:
    """Amsterdam was 19 minutes and 32 seconds ahead until 1937."""
    assert upcoming(cron("0 12 * * *", tz="Europe/Amsterdam"), "1930-01-01T00:00Z", 1)
    assert upcoming(cron("0 12 * * *", tz="Africa/Monrovia"), "1971-06-01T00:00Z", 1) == ["1971-06-01T12:44:30Z"]


@pytest.mark.parametrize("rule", [cron("30 1 * * *", tz="Europe/Dublin"), cron("*/10 * * * *", tz="Africa/Casablanca")])
def test_negative_summer_time_needs_no_special_case(rule: Rule) -> None:
    found = due(rule, "2026-01-01T00:00Z", "2027-01-01T00:00Z")
    assert len(found) == len(set(found)) >= 365


def test_a_fold_within_a_gap_is_no_gap() -> None:
    """The clock jumps over two o'clock and comes back before three: what was skipped at first exists after all."""
    odd = zone_of("odd", 0, [(7200, 3600), (9000, 0)], version="1")
    skipped_over, there = 8000, 9500
    assert real_seconds(odd, skipped_over) == []
    assert real_seconds(odd, there) == [9500]
    table = resolved(odd, Policy(Gap.SHIFT, Overlap.FIRST))
    assert [(leap.first, leap.last) for leap in table.leaps] == [(7200, 9000)]


def test_of_a_time_that_two_changes_jump_over_the_first_decides() -> None:
    odd = zone_of("odd", 0, [(7200, 3600), (7201, 0), (7202, 3600)], version="1")
    table = resolved(odd, Policy(Gap.AT_TRANSITION, Overlap.FIRST))
    assert [(leap.start, leap.first, leap.last) for leap in table.leaps] == [
        (7200, 7200, 7201), (7200, 7202, 10800), (7202, 10801, 10802),
    ]  # fmt: skip


def test_changes_of_a_zone_out_of_order_are_a_bug_of_ours() -> None:
    with pytest.raises(BrokenInvariant, match="not in order"):
        zone_of("odd", 0, [(7200, 3600), (3600, 0)], version="1")


def test_changes_that_change_nothing_and_those_beyond_the_table_are_left_out() -> None:
    far = instant("2300-01-01T00:00Z") // 1_000_000
    long_ago = instant("1800-01-01T00:00Z") // 1_000_000
    plain = zone_of("plain", 3600, [(long_ago, 7200), (0, 7200), (far, 0)], version="1")
    assert plain.offsets == (7200,)
    assert plain == zone_of("alias", 7200, version="2"), "equal rules are equal, whatever the name and version"
    assert plain.segment_at(0)[2] == plain.offset_at(far) == 7200


def test_a_short_gap_within_the_shadow_of_a_long_one_is_not_lost() -> None:
    """A whole day is left out, and within the day after it another minute."""
    odd = zone_of("odd", 0, [(3600, 86_400), (7200, 86_460)], version="1")
    rule = cron("*/1 * * * *", tz="odd/zone", dst={"gap": "shift"})
    found = due(rule, "1970-01-01T01:50Z", "1970-01-01T02:03Z", zones=lambda _: odd)
    assert found == [f"1970-01-01T01:5{n}Z" for n in range(10)] + [f"1970-01-01T02:0{n}Z" for n in range(4)]
    fires = bound(rule, zones=lambda _: odd).preview(instant("1970-01-01T02:01:30Z"), 1)
    assert fires[0].notes[0].told == "1970-01-01T02:02:00 does not exist: moved to 1970-01-02T02:03:00"
