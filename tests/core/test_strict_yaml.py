"""YAML of schedule files: nothing is guessed, everything is bounded, and what is wrong has a line and a column."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mainspring.codec.strict_yaml import LARGEST, read_yaml, write_yaml
from mainspring.errors import FileInvalid


def read(text: str) -> Any:
    return read_yaml(text, name="f.yaml").data


def refused(text: str) -> tuple[int, int, str]:
    with pytest.raises(FileInvalid) as caught:
        read(text)
    (only,) = caught.value.errors
    assert only["file"] == "f.yaml"
    return only["line"], only["column"], only["message"]


@pytest.mark.parametrize("word", ["yes", "no", "on", "Off", "10:30", "2026-01-01", "2026-01-01T00:00:00Z", "0x1F", "1_000", ".inf"])
def test_words_are_texts(word: str) -> None:
    assert read(f"a: {word}") == {"a": word}


def test_only_these_are_anything_else() -> None:
    assert read("[true, false, null, ~, 1, -2, 1.5, 1e3, '1', \"true\"]") == [
        True, False, None, None, 1, -2, 1.5, 1000.0, "1", "true",
    ]  # fmt: skip


def test_a_doubled_key_has_its_place() -> None:
    assert refused("a: 1\nb:\n  c: 1\n  c: 2\n") == (4, 3, "the key 'c' is there twice")


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("a: [1\n", (2, 1), "no YAML"),
        ("a: b: c", (1, 5), "no YAML"),
        ("a: !!python/object:os.system x", (1, 4), "the tag"),
        ("a: 1\n---\nb: 2\n", (2, 1), "one document"),
        ("", (1, 1), "empty"),
        ("? [a]\n: b", (1, 3), "a key is a text"),
        ("a: *b", (1, 4), "no anchor &b"),
        ("a: &a [*a]", (1, 8), "no anchor &a"),
        ("a: \x00", (1, 1), "no YAML"),
    ],
)
def test_what_is_wrong_has_a_place(text: str, place: tuple[int, int], part: str) -> None:
    line, column, message = refused(text)
    assert part in message
    assert (line, column) == place


def test_aliases_are_counted_and_so_is_what_they_repeat() -> None:
    assert read("a: &a [1]\nb: [" + ", ".join(["*a"] * 100) + "]")["b"] == [[1]] * 100
    assert "100 aliases" in refused("a: &a [1]\nb: [" + ", ".join(["*a"] * 101) + "]")[2]
    bomb = "l0: &l0 [x,x,x,x,x,x,x,x,x,x]\n"
    bomb += "".join(f"l{n}: &l{n} [{','.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 9))
    assert "parts" in refused(bomb)[2]


def test_size_and_depth_are_bounded() -> None:
    assert "1,048,576 bytes" in refused("a: " + "x" * LARGEST)[2]
    assert "deep" in refused("[" * 5_000)[2]


def test_a_part_that_is_missing_is_at_what_is_around_it() -> None:
    found = read_yaml("a:\n  - b: 1\n    c: 2\n", name="f")
    assert found.place("a[0].c") == (3, 5)
    assert found.place("a[0].d.e[3]") == (2, 5)
    assert found.place("z") == (1, 1)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(_PLAIN)
@example({"a\x85": "b\x85 c\u2028", "\ufeff": "\t\r\n x \n"})
def test_what_is_written_is_read_again(data: Any) -> None:
    assert read(write_yaml(data)) == data
