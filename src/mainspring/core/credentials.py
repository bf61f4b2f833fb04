"""Texts that prove who asks: their shape, their checksum, and what is stored in their place.

``mspt_`` and ``mspl_`` begin the two kinds. Then come 11 digits that name the credential and are no secret, 43 digits that are
one (256 bits), and 6 digits of a CRC-32 over all before them, in base 62. A CRC finds every change within 32 bits, so a mistyped or
cut credential is told without a look-up. What is stored is a SHA-256 of the whole text: no salt and no slow hash, for there is
nothing to guess in 256 random bits.

Not here: the dice (they come in as bytes), and who a credential belongs to (``api_tokens``, ``logins``).
"""

import hashlib
import hmac
import re
from enum import StrEnum
from typing import NamedTuple
from zlib import crc32

from mainspring.core.durations import MINUTE
from mainspring.errors import BrokenInvariant, NotAuthenticated

#: How many random bytes one takes.
RANDOM_BYTES = 40
#: A use is noted no more often than this.
NOTED_EVERY_US = MINUTE

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_BYTES = 8
_ID, _SECRET, _CHECK = 11, 43, 6
_ALL = _ID + _SECRET + _CHECK
_BODY = re.compile(rf"[0-9A-Za-z]{{{_ALL}}}")
_CREDENTIAL_ID = re.compile(rf"[0-9A-Za-z]{{{_ID}}}")
_CSRF_PURPOSE = b"mainspring csrf 1"


class Kind(StrEnum):
    """What a credential is for; its value begins the text."""

    API_TOKEN = "mspt"
    LOGIN = "mspl"


_CALLED = {Kind.API_TOKEN: "API token", Kind.LOGIN: "login"}


class Presented(NamedTuple):
    """A well-formed credential that somebody showed: the id to look for, and the digest it must have."""

    id: str
    digest: str


def compose(kind: Kind, random: bytes) -> str:
    """A new credential made of so many (``RANDOM_BYTES``) random bytes."""
    if len(random) != RANDOM_BYTES:
        raise BrokenInvariant(f"a credential takes {RANDOM_BYTES} random bytes")
    named, secret = random[:_ID_BYTES], random[_ID_BYTES:]
    text = f"{kind}_{_digits(named, _ID)}{_digits(secret, _SECRET)}"
    return text + _check(text)


def parse(kind: Kind, text: str) -> Presented:
    """Take a credential apart. No message holds any of it.

    Raises:
        NotAuthenticated: it is none of that kind, or a character is wrong.
    """
    prefix = f"{kind}_"
    if not isinstance(text, str) or not text.startswith(prefix):
        raise NotAuthenticated(f"this is no {_CALLED[kind]}: one begins with {prefix}")
    if len(text) != len(prefix) + _ALL:
        raise NotAuthenticated(f"the {_CALLED[kind]} is cut or has something added: it has {len(prefix) + _ALL} characters")
    if not _BODY.fullmatch(text, len(prefix)) or _check(text[:-_CHECK]) != text[-_CHECK:]:
        raise NotAuthenticated(f"the {_CALLED[kind]} was mistyped: its last characters do not fit the others; copy it again")
    return Presented(text[len(prefix) : len(prefix) + _ID], hashlib.sha256(text.encode()).hexdigest())


def is_credential_id(text: object) -> bool:
    """Whether a text can name a credential."""
    return isinstance(text, str) and _CREDENTIAL_ID.fullmatch(text) is not None


def matches(presented: Presented, stored: str | None) -> bool:
    """Whether it is the one that was stored, found in a time that does not tell how much of it fits. None: nothing was."""
    return hmac.compare_digest(presented.digest, stored or "0" * 64)


def is_to_be_noted(last_at: int | None, now: int) -> bool:
    """Whether a use is to be written down, given when one was last."""
    return last_at is None or now - last_at >= NOTED_EVERY_US


def csrf_of(login: str) -> str:
    """The CSRF token of a login: made of it, so it ends with it, and nobody who lacks the cookie can make it."""
    return _digits(hmac.digest(login.encode(), _CSRF_PURPOSE, "sha256"), _SECRET)


def is_csrf_of(given: str, login: str) -> bool:
    """Whether a CSRF token belongs to a login."""
    return hmac.compare_digest(given.encode(errors="replace"), csrf_of(login).encode())


def _check(text: str) -> str:
    return _digits(crc32(text.encode()).to_bytes(4, "big"), _CHECK)


def _digits(data: bytes, width: int) -> str:
    number, digits = int.from_bytes(data, "big"), []
    for _ in range(width):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
