"""Signatures of what we send: who has the key knows that it came from us, now, and for this.

The text that is signed has a line each for the time (seconds), the method, the path with its query, the idempotency key, and the
SHA-256 of the body in hexadecimal. The header is ``t=SECONDS,v1=HEX``, with one ``v1`` for every key, so that keys can be rotated.
Not here: where keys come from.
"""

import hashlib
import hmac
from collections.abc import Sequence

HEADER = "Mainspring-Signature"
FRESH_SECONDS = 300


def signature(keys: Sequence[bytes], *, at: int, method: str, target: str, idempotency_key: str, body: bytes) -> str:
    """The header for a request; ``at`` is in whole seconds since 1970, ``target`` is the path with its query."""
    signed = _signed(at, method, target, idempotency_key, body)
    return ",".join([f"t={at}", *(f"v1={_mac(key, signed)}" for key in keys)])


def is_genuine(
    header: str, keys: Sequence[bytes], *, now: int, method: str, target: str, idempotency_key: str, body: bytes
) -> bool:
    """Whether a request came from a holder of one of ``keys``, at most five minutes before or after ``now`` (seconds). What was
    received once is to be refused the second time, by its idempotency key; that is up to the receiver."""
    parts = [part.partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name.strip() == "t"]
    given = [value for name, _, value in parts if name.strip() == "v1"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12):
        return False
    at = int(times[0])
    signed = _signed(at, method, target, idempotency_key, body)
    matches = [hmac.compare_digest(_mac(key, signed).encode(), mac.encode()) for key in keys for mac in given]
    return any(matches) and abs(now - at) <= FRESH_SECONDS


def _signed(at: int, method: str, target: str, idempotency_key: str, body: bytes) -> bytes:
    return "\n".join([str(at), method, target, idempotency_key, hashlib.sha256(body).hexdigest()]).encode()


def _mac(key: bytes, signed: bytes) -> str:
    return hmac.digest(key, signed, hashlib.sha256).hex()
