"""What may be a name, a key and a priority.

Here: the rules and the messages that say what to write instead. Not here: whether a name is taken or known.
"""

from __future__ import annotations

import hashlib
import json
import re

from mainspring.errors import InvalidName, InvalidOption, shown

PRIORITY_MIN = -1000
PRIORITY_MAX = 1000

_NAME = re.compile(r"[A-Za-z0-9._/-]{1,200}")
_KEY_MAX = 512
# Control characters break logs and terminals; lone surrogates cannot be stored as UTF-8.
_NOT_IN_A_KEY = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_name(value: object, what: str) -> str:
    """Return ``value`` if it can name a task, queue, namespace or limit; ``what`` is how the message calls it."""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    raise InvalidName(
        f'{what} must be 1-200 characters of A-Z a-z 0-9 . _ / -, such as "mail.send", got {shown(value)}', option=what
    )


def check_key(value: object, what: str) -> str:
    """Return ``value`` if it can be an idempotency, singleton or concurrency key: 1-512 printable characters."""
    if isinstance(value, str) and 1 <= len(value) <= _KEY_MAX and not _NOT_IN_A_KEY.search(value):
        return value
    raise InvalidName(
        f"{what} must be a string of 1-{_KEY_MAX} characters without control characters, got {shown(value)};"
        " app.key(...) makes one of anything",
        option=what,
    )


def hashed_key(*parts: str | int) -> str:
    """A key that stands for these parts, in this order, and for no others: the same in every process and for ever.

    Raises:
        InvalidOption: no part, or one that is neither text nor a whole number.
    """
    odd = [part for part in parts if not isinstance(part, str | int) or isinstance(part, bool)]
    if odd or not parts:
        told = f"not {shown(odd[0])}" if odd else "got none"
        raise InvalidOption(f"a key is made of texts and whole numbers, {told}; write app.key(str(value))", option="key")
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def check_priority(value: object, what: str = "priority") -> int:
    """Return ``value`` if it is a whole number from -1000 to 1000; higher is claimed first."""
    if isinstance(value, int) and not isinstance(value, bool) and PRIORITY_MIN <= value <= PRIORITY_MAX:
        return value
    raise InvalidOption(
        f"{what} must be a whole number from {PRIORITY_MIN} to {PRIORITY_MAX} (higher is claimed first), got {shown(value)}",
        option=what,
    )


def check_text(value: object, what: str, *, most: int = 1_000) -> str:
    """Text for people that every database can store: no NUL, no lone surrogate, at most ``most`` characters.

    Raises:
        InvalidOption: naming ``what`` and what to write.
    """
    if not isinstance(value, str) or len(value) > most or not _is_storable(value):
        raise InvalidOption(f"{what} must be at most {most} characters of text without NUL, got {shown(value)}", option=what)
    return value


def _is_storable(text: str) -> bool:
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
