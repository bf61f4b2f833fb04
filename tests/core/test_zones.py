"""Zones as they are read from the pinned data: the standard library must read the same."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from mainspring import zones
from mainspring.core.zone import BEGINNING, END
from mainspring.errors import BrokenInvariant
from mainspring.zones import tz_version, zone
from tests.oracle.brute import library_zone, names, offset_at
from tests.support.occurring import instant

SECOND = 1_000_000
#: A few of every kind: half hours, whole days, negative summer time, war time, rules that end, offsets of seconds.
SOME = ("America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Europe/Dublin", "Africa/Casablanca", "Antarctica/Troll",
        "Africa/Monrovia", "America/Nuuk", "Asia/Almaty", "UTC", "Etc/GMT+12", "Europe/Amsterdam")  # fmt: skip


@pytest.mark.parametrize("name", SOME)
def test_a_zone_has_the_offsets_that_the_standard_library_reads(name: str) -> None:
    ours, theirs, dice = zone(name), library_zone(name), random.Random(7)
    assert ours is not None
    seconds = [dice.randrange(BEGINNING, END) for _ in range(200)]
    seconds += [second + beside for second in ours.since[1:] for beside in (-1, 0)]
    assert [second for second in seconds if ours.offset_at(second) != offset_at(theirs, second)] == []


def test_every_zone_of_the_data_is_read() -> None:
    assert [name for name in names() if zone(name) is None] == []
    assert zone("UTC").hash == zone("Etc/UTC").hash  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name",
    ["", "Local", "europe/berlin", "Europe", "Europe/", "../zoneinfo/UTC", "/etc/localtime", "tzdata.zi", "zone.tab", "a/b/c/d"],
)
def test_what_is_no_zone_is_none(name: str) -> None:
    assert zone(name) is None


def test_the_version_of_the_data_is_that_of_the_package() -> None:
    assert tuple(map(int, tz_version().split("."))) >= (2025, 2)


# --- files of other shapes --------------------------------------------------------------------------------------------


def tzif(rule: str, version: bytes = b"2") -> bytes:
    """A file without a table: one offset, and a rule for all years."""
    header = struct.pack(">4sc15x6l", b"TZif", version, 0, 0, 0, 0, 1, 4)
    kind = struct.pack(">lBB", 0, 0, 0) + b"ABC\0"
    return header + kind + header + kind + f"\n{rule}\n".encode()


@pytest.mark.parametrize(
    ("rule", "at", "offset"),
    [
        ("EST5EDT,M3.2.0,M11.1.0", "2026-03-08T07:00Z", -4 * 3600),
        ("EST5EDT,M3.2.0,M11.1.0", "2026-03-08T06:59:59Z", -5 * 3600),
        ("IST-1GMT0,M10.5.0,M3.5.0/1", "2026-01-01T00:00Z", 0),
        ("<+0330>-3:30:15", "2026-01-01T00:00Z", 0),
        ("AAA0BBB,J60/0,J300/0", "2028-02-29T23:59:59Z", 0),
        ("AAA0BBB,J60/0,J300/0", "2028-03-01T00:00Z", 3600),
        ("AAA0BBB,J60/0,J300/0", "2027-03-01T00:00Z", 3600),
        ("AAA0BBB,59/0,300/0", "2028-02-29T00:00Z", 3600),
        ("AAA0BBB,M3.1.0/-2:30,M10.1.0", "2026-02-28T21:30Z", 3600),
    ],
)
def test_the_rule_for_later_years_is_read_in_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, at: str, offset: int
) -> None:
    monkeypatch.setattr(zones, "_file", lambda name: tzif(rule))
    assert zones.zone.__wrapped__("Made/Up").offset_at(instant(at) // SECOND) == offset  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (tzif("nonsense!"), "cannot be read"),
        (tzif("AAA0BBB,X3,M10.1.0"), "cannot be read"),
        (tzif("UTC0", b"\0"), "before 2"),
    ],
)
def test_zone_data_that_cannot_be_read_are_a_bug_and_not_another_time(
    monkeypatch: pytest.MonkeyPatch, content: bytes, told: str
) -> None:
    monkeypatch.setattr(zones, "_file", lambda name: content)
    with pytest.raises(BrokenInvariant, match=told):
        zones.zone.__wrapped__("Made/Up")
