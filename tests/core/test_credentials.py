"""Credentials: their shape, the checksum that tells a typo, and what is stored in their place."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.core.credentials import (
    RANDOM_BYTES,
    Kind,
    compose,
    csrf_of,
    is_credential_id,
    is_csrf_of,
    is_to_be_noted,
    matches,
    parse,
)
from mainspring.core.durations import MINUTE
from mainspring.errors import BrokenInvariant, NotAuthenticated

TOKEN = compose(Kind.API_TOKEN, bytes(range(RANDOM_BYTES)))
RANDOM = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


@given(RANDOM, st.sampled_from(Kind))
def test_a_credential_is_taken_apart_into_the_id_and_the_digest_that_are_stored(random: bytes, kind: Kind) -> None:
    text = compose(kind, random)
    presented = parse(kind, text)
    assert (len(text), text[:5]) == (65, f"{kind}_")
    assert is_credential_id(presented.id)
    assert presented.digest == hashlib.sha256(text.encode()).hexdigest()
    assert matches(presented, presented.digest)


@given(RANDOM, RANDOM)
def test_other_bytes_make_another_credential(one: bytes, other: bytes) -> None:
    assert (compose(Kind.LOGIN, one) == compose(Kind.LOGIN, other)) is (one == other)


@pytest.mark.parametrize("random", [bytes(RANDOM_BYTES), b"\xff" * RANDOM_BYTES])
def test_the_smallest_and_the_largest_bytes_fit_into_the_digits(random: bytes) -> None:
    assert parse(Kind.API_TOKEN, compose(Kind.API_TOKEN, random)).digest


@pytest.mark.parametrize("place", range(len(TOKEN)))
def test_a_token_with_one_character_changed_is_told(place: int) -> None:
    for other in "0aZ_é \n":
        if TOKEN[place] != other:
            with pytest.raises(NotAuthenticated):
                parse(Kind.API_TOKEN, TOKEN[:place] + other + TOKEN[place + 1 :])


@given(RANDOM, st.integers(5, 63))
def test_two_neighbours_that_changed_places_are_told(random: bytes, place: int) -> None:
    text = compose(Kind.API_TOKEN, random)
    swapped = text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    if swapped != text:
        with pytest.raises(NotAuthenticated, match="mistyped"):
            parse(Kind.API_TOKEN, swapped)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "one begins with mspt_"),
        (None, "one begins with mspt_"),
        (compose(Kind.LOGIN, bytes(RANDOM_BYTES)), "this is no API token"),
        (TOKEN[:-1], "cut or has something added"),
        (TOKEN + "\n", "cut or has something added"),
        (TOKEN.swapcase().replace("MSPT", "mspt"), "mistyped"),
        (TOKEN.lower(), "mistyped"),
    ],
)
def test_what_is_no_token_is_told_and_never_repeated(text: str, told: str) -> None:
    with pytest.raises(NotAuthenticated) as refused:
        parse(Kind.API_TOKEN, text)
    assert told in refused.value.message
    assert TOKEN[5:20].lower() not in refused.value.message.lower()


def test_a_credential_matches_nothing_but_its_own_digest() -> None:
    presented = parse(Kind.API_TOKEN, TOKEN)
    assert not matches(presented, None)
    assert not matches(presented, "0" * 64)
    assert not matches(presented, presented.digest[:-1])


def test_too_few_dice_are_a_bug() -> None:
    with pytest.raises(BrokenInvariant):
        compose(Kind.API_TOKEN, b"few")


def test_a_csrf_token_belongs_to_one_login() -> None:
    one, other = (compose(Kind.LOGIN, bytes([number]) * RANDOM_BYTES) for number in (1, 2))
    assert is_csrf_of(csrf_of(one), one)
    assert not is_csrf_of(csrf_of(other), one)
    assert not is_csrf_of("", one)
    assert not is_csrf_of("é\ud800", one)
    assert csrf_of(one) not in one


def test_a_use_is_noted_once_a_minute() -> None:
    assert is_to_be_noted(None, 0)
    assert not is_to_be_noted(1_000, 1_000 + MINUTE - 1)
    assert is_to_be_noted(1_000, 1_000 + MINUTE)
