"""The chain of the audit log: what its hashes cover, and how it is followed."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.audit import BEGINNING, Broken, Entry, Place, follow, hash_of, sealed

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def chain(length: int) -> list[Entry]:
    """A chain that holds."""
    place, entries = BEGINNING, []
    for seq in range(1, length + 1):
        blank = Entry(
            seq=seq, at=seq, actor="user:ann", namespace="*", action="user.created", subject="user:bob", data="{}",
            previous=place.hash, hash="",
        )  # fmt: skip
        entries.append(sealed(blank))
        place = entries[-1].place
    return entries


def other(value: Any) -> Any:
    """Another value of the same kind."""
    return value + 7 if isinstance(value, int) else value + "x"


def test_a_chain_that_holds_is_followed_to_its_end() -> None:
    entries = chain(3)
    assert follow(BEGINNING, entries) == (entries[-1].place, None)
    assert follow(entries[0].place, entries[1:]) == (entries[-1].place, None)
    assert follow(BEGINNING, []) == (BEGINNING, None)


@pytest.mark.parametrize("column", [field.name for field in fields(Entry)])
@pytest.mark.parametrize("index", range(3))
def test_another_value_in_any_column_of_any_entry_is_found_at_its_place(column: str, index: int) -> None:
    entries = chain(3)
    entries[index] = replace(entries[index], **{column: other(getattr(entries[index], column))})
    good, broken = follow(BEGINNING, entries)
    assert broken is not None
    assert broken.seq == index + 1
    assert good.seq == index


def test_an_entry_that_is_missing_added_or_moved_is_found() -> None:
    first, second, third = chain(3)
    assert follow(BEGINNING, [first, third])[1] == Broken(seq=2, why="it is missing: entry 3 follows entry 1")
    forged = sealed(replace(second, actor="user:mallory"))
    assert follow(BEGINNING, [first, forged]) == (forged.place, None)  # a forged end follows; what came after it does not
    assert follow(BEGINNING, [first, forged, third])[1] == Broken(
        seq=3, why="it does not follow the entry before it: one of the two was altered or replaced"
    )
    assert follow(BEGINNING, [second, first, third])[1] is not None


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_text_that_moves_from_one_column_to_the_next_gives_another_hash(one: str, two: str, three: str, four: str) -> None:
    entry = replace(chain(1)[0], actor=one + two, namespace=three + four)
    moved = replace(entry, actor=one, namespace=two + three + four)
    assert (hash_of(entry) == hash_of(moved)) is (entry == moved)


def test_a_hash_is_the_same_for_ever() -> None:
    assert Place(seq=0, hash="9473407c26a45fdc16f936e425924954bfa4d1bd3b4a40ea5f4611c7b4b8eeb0") == BEGINNING
    assert chain(2)[1].hash == "845d576d1631966f96f9e69bc8c5a4221438a75a1139fa17e68569f84b5481c9"
    assert str(Place(seq=2, hash="ab")) == "2:ab"
