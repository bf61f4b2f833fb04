"""Keeping two ends of a stream: what is kept, what is counted, and that no cut shows half of a secret."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.codec.redaction import Redactor
from mainspring.errors import ConfigurationInvalid
from mainspring.targets.capture import Capture, Hiding
from mainspring.targets.receipts import Receipt
from mainspring.targets.secrets import References, SecretUnavailableError, disguises
from tests.support.loops import in_loop

SECRET = "s3cr3t-w0rd"


def captured(chunks: list[bytes], *, each_end: int = 16, secrets: tuple[str, ...] = ()) -> Receipt:
    capture = Capture(Hiding(Redactor(), secrets), each_end=each_end)
    for chunk in chunks:
        capture.add(chunk)
    return capture.receipt("stdout")


@given(st.lists(st.binary(max_size=60), max_size=12), st.integers(1, 20))
def test_both_ends_are_kept_and_all_is_counted(chunks: list[bytes], each_end: int) -> None:
    whole = b"".join(chunks)
    receipt = captured(chunks, each_end=each_end)
    assert (receipt.size, receipt.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    if len(whole) <= 2 * each_end:
        assert (receipt.head, receipt.tail, receipt.between) == (whole, b"", 0)
    else:
        assert (receipt.head, receipt.tail) == (whole[:each_end], whole[-each_end:])
        assert receipt.between == len(whole) - 2 * each_end


@given(st.integers(0, 120), st.integers(1, 7), st.integers(0, 60))
def test_no_cut_shows_a_part_of_a_secret(before: int, step: int, after: int) -> None:
    whole = b"." * before + SECRET.encode() + b"." * after
    chunks = [whole[at : at + step] for at in range(0, len(whole), step)]
    receipt = captured(chunks, secrets=(SECRET,))
    kept = receipt.head + receipt.tail
    assert set(kept) <= set(b".*"), kept
    assert receipt.between == 0 or len(receipt.head) <= 16 + len("***")


@given(st.integers(0, 40))
def test_many_secrets_in_a_row_pull_none_into_view(before: int) -> None:
    whole = b"." * before + SECRET.encode() * 20
    assert set(captured([whole], secrets=(SECRET,)).head + captured([whole], secrets=(SECRET,)).tail) <= set(b".*")


def test_what_looks_like_a_secret_is_hidden_and_other_bytes_stay() -> None:
    receipt = captured([b"\xff\xfe password=hunter22 \x00"], each_end=100)
    assert receipt.head == b"\xff\xfe password=*** \x00"


def test_memory_stays_bounded_whatever_comes() -> None:
    capture = Capture(Hiding(Redactor()), each_end=1_000)
    for size in (10_000_000, 1, 999, 5_000) * 20:
        capture.add(b"x" * size)
        assert len(capture._head) + len(capture._tail) <= 1_000 + 2_000 + 5_000
    assert capture.size == 20 * (10_000_000 + 1 + 999 + 5_000)


def test_a_gap_is_named_for_people() -> None:
    text = captured([b"a" * 16, b"b" * 1_234_567, b"\xc3" * 16]).text
    assert text == f"{'a' * 16}\n… [1,234,567 bytes left out] …\n" + "\\xc3" * 16


def test_a_secret_is_known_in_its_disguises() -> None:
    assert disguises({"a": 'Bearer to"ken/123'}) == (
        "Bearer%20to%22ken%2F123", 'Bearer to\\"ken/123', 'Bearer to"ken/123', "to%22ken%2F123", 'to\\"ken/123', 'to"ken/123'
    )  # fmt: skip


@in_loop
async def test_a_vault_gives_what_its_operator_named_and_nothing_else() -> None:
    def follow(text: str) -> str:
        if text == "env:GONE":
            raise ConfigurationInvalid("there is no GONE")
        return {"env:TOKEN": "told"}.get(text, "")

    vault = References(named={"ping": "env:TOKEN", "gone": "env:GONE", "empty": "env:EMPTY"}, follow=follow)
    assert await vault.get("ping") == "told"
    for name in ("gone", "empty", "env:TOKEN", "file:/etc/shadow", "other"):
        with pytest.raises(SecretUnavailableError):
            await vault.get(name)
