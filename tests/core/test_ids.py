"""Run ids and stable numbers."""

import itertools
import uuid

import pytest

from mainspring.core.ids import is_run_id, parse_run_id, stable_id, uuid7, uuid7_floor
from mainspring.errors import BrokenInvariant, InvalidOption

ID = "01985f3c-7a2b-7c1d-8e4f-0123456789ab"
ALL_BITS = 2**74 - 1


@pytest.mark.parametrize(("ms", "bits"), [(0, 0), (0, ALL_BITS), (1_760_000_000_000, 12345), (2**48 - 1, ALL_BITS)])
def test_a_made_id_is_a_uuid_of_version_seven_with_its_millisecond_in_front(ms: int, bits: int) -> None:
    made = uuid.UUID(uuid7(ms, bits))
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    assert made.int >> 80 == ms
    assert str(made) == uuid7(ms, bits)
    assert is_run_id(str(made))


def test_an_id_holds_all_seventy_four_bits() -> None:
    assert len({uuid7(1, 1 << bit) for bit in range(74)}) == 74


def test_later_ids_sort_later_as_text() -> None:
    made = [uuid7(ms, bits) for ms in (0, 1, 255, 2**40) for bits in (0, 1, 2**62, ALL_BITS)]
    assert made == sorted(made)


@pytest.mark.parametrize(("ms", "bits"), [(-1, 0), (2**48, 0), (0, -1), (0, 2**74)])
def test_numbers_that_do_not_fit_an_id_are_our_bug(ms: int, bits: int) -> None:
    with pytest.raises(BrokenInvariant, match="48 bits of milliseconds and 74"):
        uuid7(ms, bits)


def test_the_floor_lies_between_the_ids_of_two_milliseconds() -> None:
    floor = uuid7_floor(5_000_999)
    assert uuid7(4_999, ALL_BITS) < floor <= uuid7(5_000, 0)
    assert is_run_id(floor)


@pytest.mark.parametrize(("instant", "ms"), [(-1, 0), (2**63 - 1, 2**48 - 1), (999, 0), (1000, 1)])
def test_a_floor_exists_for_any_instant(instant: int, ms: int) -> None:
    assert uuid7_floor(instant) == uuid7(ms, 0)


@pytest.mark.parametrize("text", [ID, ID.upper(), f"  {ID}\n"])
def test_a_pasted_id_is_read_in_its_canonical_form(text: str) -> None:
    assert parse_run_id(text) == ID


@pytest.mark.parametrize("text", ["", "7", ID[:-1], ID + "0", ID.replace("-", ""), ID.replace("-7", "-4"), "١" + ID[1:], None, 7])
def test_what_is_no_run_id_is_refused_showing_one(text: object) -> None:
    assert not is_run_id(text)
    with pytest.raises(InvalidOption, match="run_id must be a run id such as") as caught:
        parse_run_id(text)  # type: ignore[arg-type]
    assert caught.value.details == {"option": "run_id"}


def test_only_the_canonical_form_is_a_run_id() -> None:
    assert is_run_id(ID)
    assert not is_run_id(ID.upper())
    assert not is_run_id(ID + "\n")


def test_stable_ids_are_pinned_for_stored_rows_rest_on_them() -> None:
    assert stable_id() == 8_238_016_292_129_134_938
    assert stable_id("lane", "default", 0) == 4_626_688_733_852_956_625
    assert stable_id("grüße", -5) == 2_839_128_646_965_862_704


def test_lists_of_parts_do_not_run_into_one_another() -> None:
    lists: list[tuple[str | int, ...]] = [(), ("",), ("", ""), ("ab", "c"), ("a", "bc"), ("abc",), (1,), ("1",), (-1,)]
    made = [stable_id(*parts) for parts in lists]
    assert all(one != other for one, other in itertools.combinations(made, 2))


def test_a_stable_id_fits_a_positive_bigint() -> None:
    assert all(1 <= stable_id("policy", n) < 2**63 for n in range(2000))
    assert any(stable_id("policy", n) >= 2**62 for n in range(100))
