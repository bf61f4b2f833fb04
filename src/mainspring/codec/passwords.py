"""Hashes of passwords: argon2id. Needs the extra ``mainspring[passwords]``.

The parameters are the second recommendation of RFC 9106, section 4: 3 passes over 64 MiB in 4 lanes, 128 bits of salt, 256 bits of
hash. They are written into every hash, so they can be changed: the next login makes the hash anew. It takes a tenth of a second and
64 MiB, so nothing here is called inside a transaction, and whoever serves logins bounds how many are checked at once.

Not here: what may be a password (``core/logins``).
"""

from typing import Any

from mainspring.errors import CapabilityUnsupported

#: Nobody's: what a password is checked against where there is no such person, so that it takes as long as if there were.
NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$dkqcEP27thKjy5W2/o96RQ$hidLxzyQ4u5RTVtP2UF0poxWduKq/v8y3p/5aX8dj1A"


def hashed(password: str) -> str:
    """The hash of a password, with a salt of its own.

    Raises:
        CapabilityUnsupported: the extra is not installed.
    """
    text: str = _hasher().hash(password)
    return text


def is_right(password: str, stored: str) -> bool:
    """Whether it is the password that was hashed."""
    from argon2.exceptions import VerifyMismatchError

    try:
        return bool(_hasher().verify(stored, password))
    except VerifyMismatchError:
        return False


def is_outdated(stored: str) -> bool:
    """Whether it was hashed with other parameters than passwords are now."""
    return bool(_hasher().check_needs_rehash(stored))


def _hasher() -> Any:
    try:
        from argon2 import PasswordHasher, Type
    except ImportError:
        raise CapabilityUnsupported("passwords need argon2: pip install 'mainspring[passwords]'", capability="passwords") from None
    return PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=4, hash_len=32, salt_len=16, type=Type.ID)
