"""What an app does to values on their way to the database and back: sealed by its codec, moved to its blob store, redacted.

Here: the narrow seam (``Codec``), the three forms a stored value has, and ``Keeping``, by which all of them are written and read.
Not here: ciphers (``encryption``), files (``blobs``), and when a value is written (``client``, ``runtime``).

A stored value is JSON as it is; or begins with 1: sealed, after an optional keyed hash of the plain value; or begins with 2: the
key of a blob that holds either. JSON begins with neither. Values that were stored before a codec or a blob store came stay
readable, and need no mark.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import msgspec

from mainspring.codec.blobs import BlobStore
from mainspring.codec.encryption import Encrypted
from mainspring.codec.inputs import INPUTS, split_inputs
from mainspring.codec.redaction import Redactor
from mainspring.codec.values import LARGEST, LARGEST_STORED
from mainspring.errors import InvalidOption, MainspringError, PayloadTooLarge, ResultTooLarge, ValueUnreadable, shown

_SEALED = b"\x01"
_BLOB = b"\x02"
_MARKS = (_SEALED, _BLOB)
_WRAPPINGS = frozenset({*_MARKS, INPUTS})
_TOLD = "mainspring-sealed:"


@runtime_checkable
class Codec(Protocol):
    """Seals values before they are stored. ``about`` says what a value belongs to; it must be the same when it is opened."""

    def seal(self, body: bytes, about: str) -> bytes:
        """The value as it is stored."""

    def open(self, sealed: bytes, about: str) -> bytes:
        """The value again.

        Raises:
            ValueUnreadable: it cannot be opened; the message says why.
        """

    def digest(self, body: bytes) -> bytes:
        """A hash that equal values share, also when keys change, and that tells nothing of them to whoever has no key."""


def payload_of(task: str) -> str:
    """What a payload belongs to: its task. Not its run, for a retry, a replaced or a debounced payload moves between runs."""
    return f"payload:{task}"


def result_of(run_id: str) -> str:
    """What a result belongs to."""
    return f"result:{run_id}"


def checkpoint_of(run_id: str) -> str:
    """What a checkpoint belongs to."""
    return f"checkpoint:{run_id}"


def receipt_of(run_id: str) -> str:
    """What a receipt belongs to."""
    return f"receipt:{run_id}"


def failure_of(run_id: str) -> str:
    """What is told of a run's failures belongs to it."""
    return f"failure:{run_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How an app keeps values. Without arguments: as they are, with what looks like a secret hidden in texts for people.

    ``inline`` is the most bytes that stay in a row where there is a blob store.
    """

    codec: Codec | None = None
    blobs: BlobStore | None = None
    redactor: Redactor = field(default_factory=Redactor)
    inline: int = LARGEST

    @property
    def is_plain(self) -> bool:
        """Whether values are stored as they are."""
        return self.codec is None and self.blobs is None

    @property
    def largest(self) -> int:
        """The most bytes of JSON that a payload or a result may have."""
        return LARGEST if self.blobs is None else LARGEST_STORED

    # -- payloads and results ---------------------------------------------------------------------------------------

    def keep_payload(self, body: bytes, *, task: str, run_id: str, keyed: bool, token: int | None = None) -> bytes:
        """A payload as it is stored. ``keyed``: it will be compared with others, by ``payload_hash``. ``token``: of the attempt
        that gave its run this payload, if one did. May block.

        Raises:
            PayloadTooLarge: over the limit. StorageUnavailable: the blob store cannot be used; nothing was created.
        """
        if len(body) > self.largest:
            raise PayloadTooLarge(f"the payload of {task} is {len(body):,} bytes and {self.largest:,} is the most")
        return self._keep(body, payload_of(task), f"{run_id}/payload{'' if token is None else token}", keyed)

    def read_payload(self, stored: bytes, *, task: str) -> bytes:
        """A payload again. May block.

        Raises:
            ValueUnreadable: it was altered, its key is not listed, its blob is gone. StorageUnavailable: of the blob store.
        """
        return self._read(stored, payload_of(task))

    def keep_result(self, body: bytes, *, run_id: str, token: int) -> bytes:
        """A result as it is stored; each attempt (``token``) has a blob of its own. May block.

        Raises:
            ResultTooLarge: over the limit. StorageUnavailable: the blob store cannot be used.
        """
        if len(body) > self.largest:
            raise ResultTooLarge(
                f"the result is {len(body):,} bytes and {self.largest:,} is the most; give the App a blob store (blobs=), or "
                "store it elsewhere and return where it is"
            )
        return self._keep(body, result_of(run_id), f"{run_id}/result{token}", False)

    def read_result(self, stored: bytes, *, run_id: str) -> bytes:
        """A result again. May block.

        Raises:
            ValueUnreadable, StorageUnavailable: see ``read_payload``.
        """
        return self._read(stored, result_of(run_id))

    def keep_checkpoint(self, body: bytes, *, run_id: str) -> bytes:
        """A checkpoint as it is stored; it is small, and never a blob."""
        return body if self.codec is None else self._sealed(self.codec, body, checkpoint_of(run_id), False)

    def read_checkpoint(self, stored: bytes, *, run_id: str) -> bytes:
        """A checkpoint again.

        Raises:
            ValueUnreadable: it was altered, or its key is not listed.
        """
        return self._read(stored, checkpoint_of(run_id))

    def keep_receipt(self, body: bytes, *, run_id: str) -> bytes:
        """What an attempt left, as it is stored; it is bounded, and never a blob."""
        return body if self.codec is None else self._sealed(self.codec, body, receipt_of(run_id), False)

    def read_receipt(self, stored: bytes, *, run_id: str) -> bytes:
        """What an attempt left, again.

        Raises:
            ValueUnreadable: it was altered, or its key is not listed.
        """
        return self._read(stored, receipt_of(run_id))

    # -- what is told of failures -----------------------------------------------------------------------------------

    def keep_told(self, message: str, traceback: str | None, *, run_id: str) -> tuple[str, str | None]:
        """A failure's message and traceback as the ledger keeps them: sealed into the first, where there is a codec."""
        if self.codec is None:
            return message, traceback
        sealed = self.codec.seal(msgspec.json.encode([message, traceback]), failure_of(run_id))
        return _TOLD + base64.b64encode(sealed).decode(), None

    def read_told(self, data: Mapping[str, Any], *, run_id: str) -> dict[str, Any]:
        """Event data with the message and traceback readable; where they cannot be opened, the message says so."""
        told = data.get("message")
        if not isinstance(told, str) or not told.startswith(_TOLD):
            return dict(data)
        try:
            sealed = base64.b64decode(told.removeprefix(_TOLD), validate=True)
            message, traceback = msgspec.json.decode(self._codec().open(sealed, failure_of(run_id)), type=tuple[str, str | None])
        except MainspringError as error:
            message, traceback = f"(sealed: {error.message})", None
        except (binascii.Error, msgspec.MsgspecError):
            return dict(data)  # somebody's own words, that only begin like ours
        return {**data, "message": message} | ({} if traceback is None else {"traceback": traceback})

    # -- the forms --------------------------------------------------------------------------------------------------

    def _keep(self, body: bytes, about: str, name: str, keyed: bool) -> bytes:
        stored = body if self.codec is None else self._sealed(self.codec, body, about, keyed)
        if self.blobs is None or len(body) <= self.inline:
            return stored
        digest = self.codec.digest(body).hex() if self.codec is not None and keyed else ""
        key = f"{name}-{len(stored)}-{hashlib.sha256(stored).hexdigest()}" + (f"-{digest}" if digest else "")
        self.blobs.put(key, stored)
        return _BLOB + key.encode()

    @staticmethod
    def _sealed(codec: Codec, body: bytes, about: str, keyed: bool) -> bytes:
        digest = codec.digest(body) if keyed else b""
        return _SEALED + bytes([len(digest)]) + digest + codec.seal(body, about)

    def _read(self, stored: bytes, about: str) -> bytes:
        if stored[:1] == _BLOB:
            stored = self._fetched(stored[1:].decode())
        if stored[:1] == _SEALED:
            return self._codec().open(stored[2 + stored[1] :], about)
        return stored

    def _fetched(self, key: str) -> bytes:
        if self.blobs is None:
            raise ValueUnreadable(f"the value is in a blob store, as {key}, and this app has none; give it blobs=", key=key)
        try:
            body = self.blobs.get(key)
        except LookupError:
            raise ValueUnreadable(f"the value is in the blob store as {key}, and it is not there", key=key) from None
        if hashlib.sha256(body).hexdigest() != _parts(key)[2]:
            raise ValueUnreadable(f"the blob {key} is not what was written: its hash is another", key=key)
        return body

    def _codec(self) -> Codec:
        if self.codec is None:
            raise ValueUnreadable("the value is sealed, and this app has no codec; give it the codec= it was sealed with")
        return self.codec


def keeping_of(
    codec: Codec | None, blobs: BlobStore | None, redact: Iterable[str | re.Pattern[str]], follow: Callable[[str], str]
) -> Keeping:
    """What the options of an app mean; ``follow`` finds what keys by reference stand for.

    Raises:
        InvalidOption: naming the option and what to write. ConfigurationInvalid: a reference to what is not there.
    """
    if codec is not None and not isinstance(codec, Codec):
        raise InvalidOption(f"codec= needs seal, open and digest, and {shown(codec)} lacks one; write Encrypted(…)", option="codec")
    if blobs is not None and not isinstance(blobs, BlobStore):
        raise InvalidOption(f'blobs= is a blob store such as Directory("/var/lib/shop"), not {shown(blobs)}', option="blobs")
    unlocked = codec.resolved(follow) if isinstance(codec, Encrypted) else codec
    return Keeping(codec=unlocked, blobs=blobs, redactor=Redactor(redact))


def is_wrapped(stored: bytes | None) -> bool:
    """Whether a stored value is something else than its JSON."""
    return stored is not None and stored[:1] in _WRAPPINGS


def blob_key(stored: bytes | None) -> str | None:
    """The key of the blob that a stored value points to; None where it points to none."""
    return stored[1:].decode() if stored is not None and stored[:1] == _BLOB else None


def reference(key: str) -> bytes:
    """The stored value that points to a blob."""
    return _BLOB + key.encode()


def described(stored: bytes) -> str:
    """A wrapped value for people, without opening it."""
    inputs, rest = split_inputs(stored)
    if inputs:
        told = ", ".join(f"{name}: the result of {run_id}" for name, run_id in inputs.items())
        return f"{rest.decode()} with {told}"
    key = blob_key(stored)
    return f"(in the blob store: {key})" if key is not None else f"(sealed, {len(stored):,} bytes)"


def payload_hash(stored: bytes) -> str:
    """What tells two payloads under one key apart, from their stored form: equal payloads have equal hashes."""
    if stored[:1] == _SEALED and stored[1]:
        return stored[2 : 2 + stored[1]].hex()
    key = blob_key(stored)
    if key is not None:
        parts = _parts(key)
        return parts[3] if len(parts) > 3 else parts[2]
    return hashlib.sha256(stored).hexdigest()


def _parts(key: str) -> list[str]:
    """A blob's name, size, hash, and the keyed hash of the plain value where it has one. Run ids have dashes too."""
    return key.rpartition("/")[2].split("-")
