"""What may be a name, a key and a priority."""

from typing import Any

import pytest

from mainspring.core.names import check_key, check_name, check_priority, hashed_key
from mainspring.errors import InvalidName, InvalidOption


@pytest.mark.parametrize("name", ["a", "mail.send", "Team-9/nightly_v2", "." * 200])
def test_a_name_is_up_to_two_hundred_plain_characters(name: str) -> None:
    assert check_name(name, "task name") == name


@pytest.mark.parametrize("name", ["", "a" * 201, "a b", "a\n", "größe", "a:b", None, 5, b"a"])
def test_a_bad_name_is_refused_naming_it_and_what_to_write(name: object) -> None:
    with pytest.raises(InvalidName, match=r"^queue must be 1-200 characters of A-Z a-z 0-9 \. _ / -, such as") as caught:
        check_name(name, "queue")
    assert caught.value.code == "invalid_option"
    assert caught.value.details == {"option": "queue"}


@pytest.mark.parametrize("key", ["k", " order 7 ", "größe:€", "😀" * 512])
def test_a_key_is_up_to_512_printable_characters(key: str) -> None:
    assert check_key(key, "singleton") == key


@pytest.mark.parametrize("key", ["", "k" * 513, "a\x00b", "a\nb", "\x7f", "\x85", "\ud800", None, 7])
def test_a_bad_key_is_refused_naming_it_and_the_way_out(key: object) -> None:
    with pytest.raises(
        InvalidName, match=r"^singleton must be a string of 1-512 .*; app\.key\(\.\.\.\) makes one of anything$"
    ) as caught:
        check_key(key, "singleton")
    assert caught.value.details == {"option": "singleton"}
    assert len(caught.value.message) < 250


@pytest.mark.parametrize("priority", [-1000, 0, 1000])
def test_a_priority_lies_within_a_thousand_of_zero(priority: int) -> None:
    assert check_priority(priority) == priority


@pytest.mark.parametrize("priority", [-1001, 1001, 1.0, True, "5", None])
def test_a_bad_priority_is_refused_saying_what_to_write(priority: object) -> None:
    with pytest.raises(InvalidOption, match="priority must be a whole number from -1000 to 1000") as caught:
        check_priority(priority)
    assert caught.value.details == {"option": "priority"}


def test_a_hashed_key_is_the_same_for_ever_and_knows_its_parts_apart() -> None:
    assert hashed_key("receipt", 7) == "4b290cdfe9dcf482447e6052cc9a38e486114afa8f2f16926612e4d39022e302"
    assert len({hashed_key("a", "b"), hashed_key("ab"), hashed_key("b", "a"), hashed_key("a", "b", "")}) == 4
    assert hashed_key("7") != hashed_key(7)
    assert check_key(hashed_key("\x00\ud800"), "key")


@pytest.mark.parametrize("parts", [(), (None,), (True,), (1.5,), ("a", ["b"])])
def test_a_hashed_key_is_made_of_texts_and_whole_numbers(parts: Any) -> None:
    with pytest.raises(InvalidOption, match=r"write app\.key\(str\(value\)\)"):
        hashed_key(*parts)
