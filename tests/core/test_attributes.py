"""Attributes: the spelling sorts as the values do, and conditions mean what they say."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core import attributes
from mainspring.errors import InvalidOption

numbers = st.one_of(
    st.integers(-(10**35), 10**35),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 0.0, -0.0, 1, 1.0, 10, 0.1]),
)
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)


@given(numbers, numbers)
def test_numbers_sort_as_they_are_spelt(first: float, second: float) -> None:
    one, two = (Decimal(repr(value)) for value in (first, second))
    spelt = [attributes.encoded(value).encode() for value in (first, second)]
    assert (one < two, one == two) == (spelt[0] < spelt[1], spelt[0] == spelt[1])


@given(st.one_of(numbers, texts, st.booleans()))
def test_a_value_comes_back(value: Any) -> None:
    found = attributes.decoded(attributes.encoded(value))
    same = found == value if isinstance(value, (str, bool)) else Decimal(repr(found)) == Decimal(repr(value))
    assert same, found  # a whole float comes back as the int of its digits
    assert isinstance(found, bool) == isinstance(value, bool)


@given(texts, texts)
def test_texts_sort_by_their_characters(first: str, second: str) -> None:
    assert (first < second) == (attributes.encoded(first).encode() < attributes.encoded(second).encode())


def holds(condition: Any, value: Any) -> bool:
    spelt = attributes.encoded(value).encode()
    return any(span.low.encode() <= spelt < span.high.encode() for span in attributes.wanted({"a": condition}))


@given(numbers, numbers)
def test_comparisons_of_numbers_mean_what_they_say(bound: float, value: float) -> None:
    one, two = Decimal(repr(value)), Decimal(repr(bound))
    assert holds(bound, value) == (one == two)
    assert holds((">=", bound), value) == (one >= two)
    assert holds((">", bound), value) == (one > two)
    assert holds(("<", bound), value) == (one < two)
    assert holds(("<=", bound), value) == (one <= two)


@given(texts, texts)
def test_comparisons_of_texts_mean_what_they_say(bound: str, value: str) -> None:
    assert holds(bound, value) == (value == bound)
    assert holds((">", bound), value) == (value > bound)
    assert holds(("<=", bound), value) == (value <= bound)


@pytest.mark.parametrize(
    ("condition", "value", "does"),
    [
        ([1, "x"], 1, True),
        ([1, "x"], "x", True),
        ([1, "x"], True, False),
        (range(5, 10), 9.9, True),
        (range(5, 10), 10, False),
        ({">": 1, "<=": 2}, 2, True),
        ({">": 1, "<=": 2}, 1, False),
        (..., False, True),
        (..., "", True),
        ((">=", 0), "text", False),
        (True, 1, False),
    ],
)
def test_each_condition_in_turn(condition: Any, value: Any, does: bool) -> None:
    assert holds(condition, value) is does


@pytest.mark.parametrize(
    "given_",
    [
        {"a": None},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": 10**40},
        {"a": [1]},
        {"a": "x" * 1025},
        {"a": "\x00"},
        {"a b": 1},
        {f"a{n}": 1 for n in range(33)},
        {f"a{n}": "x" * 1000 for n in range(5)},
        7,
    ],
)
def test_what_cannot_be_an_attribute_is_refused(given_: Any) -> None:
    with pytest.raises(InvalidOption):
        attributes.checked(given_)


@pytest.mark.parametrize("condition", [None, [], (), ("~", 1), {">": 1, "<": "x"}, (">", True), range(0, 9, 2), {}])
def test_what_cannot_be_a_condition_is_refused(condition: Any) -> None:
    with pytest.raises(InvalidOption):
        attributes.wanted({"a": condition})
