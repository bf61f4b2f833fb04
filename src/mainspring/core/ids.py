"""Identifiers: run ids (UUIDv7 text) and stable numbers made from names.

Here: shape and arithmetic. Not here: the clock and the dice that fresh ids need; they come in as numbers.
The layout of a UUIDv7 is that of RFC 9562, section 5.7: ids made later sort later, by the millisecond.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from mainspring.errors import BrokenInvariant, InvalidOption, shown

_RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_LAST_MS = 2**48 - 1
_LOW_62 = 2**62 - 1


def is_run_id(text: object) -> bool:
    """Whether ``text`` is a run id in canonical form: lower-case UUIDv7 with dashes."""
    return isinstance(text, str) and _RUN_ID.fullmatch(text) is not None


def parse_run_id(text: str) -> str:
    """Return the canonical form of a run id as people paste it: either case, blanks around it."""
    canonical = str(text).strip().lower()
    if is_run_id(canonical):
        return canonical
    raise InvalidOption(
        f'run_id must be a run id such as "01985f3c-7a2b-7c1d-8e4f-0123456789ab", got {shown(text)}', option="run_id"
    )


def uuid7(unix_ms: int, random_74_bits: int) -> str:
    """The UUIDv7 of a millisecond since 1970 and 74 bits, which the caller drew at random."""
    if not (0 <= unix_ms <= _LAST_MS and 0 <= random_74_bits < 2**74):
        raise BrokenInvariant("a UUIDv7 takes 48 bits of milliseconds and 74 of chance", unix_ms=unix_ms)
    above, below = random_74_bits >> 62, random_74_bits & _LOW_62
    number = unix_ms << 80 | 0x7 << 76 | above << 64 | 0b10 << 62 | below
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def stable_uuid7(instant_us: int, *parts: str | int) -> str:
    """The UUIDv7 that an instant and the same parts give for ever, on every machine: for a run that two may make, and one does."""
    digest = blake2b(digest_size=10)
    for part in parts:
        digest.update(stable_id(part).to_bytes(8, "big"))
    return uuid7(max(0, min(instant_us // 1000, _LAST_MS)), int.from_bytes(digest.digest(), "big") >> 6)


def uuid7_floor(instant_us: int) -> str:
    """The smallest run id of that instant's millisecond: every id made in an earlier one sorts before it.

    Instants no id can hold give the first or the last floor there is, so a cut-off may lie anywhere.
    """
    return uuid7(max(0, min(instant_us // 1000, _LAST_MS)), 0)


def stable_id(*parts: str | int) -> int:
    """A number in 1..2**63-1 that the same parts give for ever, on every machine.

    Each part goes in with its type and length, so no two lists of parts run into one another: ``("ab", "c")``,
    ``("a", "bc")`` and ``(1,)``, ``("1",)`` differ. Stored rows rest on this; it must never change.
    """
    digest = blake2b(digest_size=8)
    for part in parts:
        kind, text = (b"s", part) if isinstance(part, str) else (b"i", str(int(part)))
        encoded = text.encode()
        digest.update(kind + len(encoded).to_bytes(8, "big") + encoded)
    return int.from_bytes(digest.digest(), "big") >> 1 or 1
