"""``Encrypted``: values sealed with AES-256-GCM, under keys that can be rotated. Needs the extra ``mainspring[encryption]``.

A sealed value carries the id of its key, so that values of several keys lie side by side. Not here: which values are sealed
(``keeping``).
"""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from typing import Any

from mainspring.errors import CapabilityUnsupported, ConfigurationInvalid, InvalidOption, ValueUnreadable

_KEY_BYTES = 32
_NONCE_BYTES = 12
_LONGEST_ID = 64


class Encrypted:
    """Seals with ``keys[current]``; opens with whichever key a value names.

    A key is 32 bytes, or a text: their base64, or where that is (``env:NAME``, ``file:PATH``; an ``App`` looks there). To rotate,
    list a new key everywhere, then make it ``current``. A key may go once nothing sealed with it is left.

    Payloads under an idempotency key are compared by a keyed hash, which must stay the same while keys come and go:
    ``hash_key`` is its key; without one it is made of the first key that is listed.
    """

    def __init__(self, *, keys: Mapping[str, bytes | str], current: str, hash_key: bytes | str | None = None) -> None:
        """Take the keys.

        Raises:
            InvalidOption: no keys, a bad id, ``current`` is none of them, a key that is not 32 bytes.
            ConfigurationInvalid: a text that is not base64.
            CapabilityUnsupported: the extra is not installed.
        """
        if current not in keys:
            known = ", ".join(keys) or "none"
            raise InvalidOption(f"current= must name one of the keys ({known}), not {current!r}", option="current")
        self._given = {_checked_id(name): key for name, key in keys.items()}
        self._current = current
        self._given_hash_key = hash_key
        self._keys: dict[str, Any] = {}
        self._hash_key = b""
        if not any(map(_is_reference, (*keys.values(), hash_key))):
            self._unlock()

    def resolved(self, follow: Callable[[str], str]) -> "Encrypted":
        """The same with its references followed; what an ``App`` does."""
        keys = {name: _followed(key, follow) for name, key in self._given.items()}
        hash_key = None if self._given_hash_key is None else _followed(self._given_hash_key, follow)
        return Encrypted(keys=keys, current=self._current, hash_key=hash_key)

    def _unlock(self) -> None:
        aead = _aead()
        secrets = {name: _key(name, key) for name, key in self._given.items()}
        root = next(iter(secrets.values())) if self._given_hash_key is None else _key("hash_key", self._given_hash_key)
        self._keys = {name: aead(secret) for name, secret in secrets.items()}
        self._hash_key = hmac.digest(root, b"mainspring payload hash", hashlib.sha256)

    def __repr__(self) -> str:
        return f"Encrypted(keys={sorted(self._given)}, current={self._current!r})"

    def seal(self, body: bytes, about: str) -> bytes:
        """Encrypt a value. ``about`` says what it belongs to; only with the same can it be opened."""
        name, nonce = self._current.encode(), os.urandom(_NONCE_BYTES)
        sealed: bytes = self._opened()[self._current].encrypt(nonce, body, about.encode())
        return bytes([len(name)]) + name + nonce + sealed

    def open(self, sealed: bytes, about: str) -> bytes:
        """Undo ``seal``.

        Raises:
            ValueUnreadable: its key is not listed; or it was altered, or belongs elsewhere.
        """
        from cryptography.exceptions import InvalidTag

        name, rest = _split(sealed)
        key = self._opened().get(name)
        if key is None:
            raise ValueUnreadable(
                f"the value is sealed with the key {name!r}, and there are {', '.join(sorted(self._keys))}; list that key too",
                key=name,
            )
        try:
            opened: bytes = key.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError):
            raise ValueUnreadable(
                f"the value does not open with the key {name!r}: it was altered, it belongs to something else, or the key of that "
                "name is another by now",
                key=name,
            ) from None
        return opened

    def digest(self, body: bytes) -> bytes:
        """The keyed hash by which equal values are known."""
        self._opened()
        return hmac.digest(self._hash_key, body, hashlib.sha256)

    def _opened(self) -> dict[str, Any]:
        if not self._keys:
            raise ConfigurationInvalid("keys by reference (env:, file:) are looked up by an App; give this codec to one, as codec=")
        return self._keys


def _is_reference(key: object) -> bool:
    return isinstance(key, str) and key.startswith(("env:", "file:"))


def _followed(key: bytes | str, follow: Callable[[str], str]) -> bytes | str:
    return follow(key) if isinstance(key, str) else key


def _split(sealed: bytes) -> tuple[str, bytes]:
    length = sealed[0] if sealed else 0
    return sealed[1 : 1 + length].decode("ascii", "replace"), sealed[1 + length :]


def _aead() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise CapabilityUnsupported("Encrypted needs the package cryptography; install mainspring[encryption]") from None
    return AESGCM


def _checked_id(name: str) -> str:
    if not isinstance(name, str) or not name.isascii() or not name.isprintable() or not 1 <= len(name) <= _LONGEST_ID:
        raise InvalidOption(
            f"the id of a key must be 1 to {_LONGEST_ID} printable ASCII characters, not {name!r}; say, a date",
            option="keys",
        )
    return name


def _key(name: str, key: bytes | str) -> bytes:
    secret = key
    if isinstance(key, str):
        try:
            secret = base64.b64decode(key, validate=True)
        except (binascii.Error, ValueError):
            raise ConfigurationInvalid(f"the key {name} is not base64; make one with: openssl rand -base64 32") from None
    if not isinstance(secret, bytes) or len(secret) != _KEY_BYTES:
        raise InvalidOption(f"the key {name} must be {_KEY_BYTES} bytes; make one with: openssl rand -base64 32", option="keys")
    return secret
