"""Keeping the two ends of a stream of any length in bounded memory, and hiding secrets in what is kept.

Here: ``Capture``, and ``Hiding``. Where the middle goes, a secret may lie across the cut: some bytes more are held on both sides
until it has been hidden. Not here: reading (``http``, ``shell``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from mainspring.codec.redaction import HIDDEN, Redactor
from mainspring.targets.receipts import Kind, Receipt

EACH_END = 128 * 1024


class Hiding:
    """Hides the secrets of one attempt, and whatever looks like one."""

    def __init__(self, redactor: Redactor, secrets: Sequence[str] = ()) -> None:
        self._redactor = redactor
        self._secrets = secrets
        encoded = [re.escape(secret.encode()) for secret in secrets]
        self._pattern = re.compile(b"|".join(encoded)) if encoded else None
        self.longest = max((len(secret.encode()) for secret in secrets), default=0)

    def text(self, text: str) -> str:
        """A text without secrets."""
        return self._redactor.text(text, self._secrets)

    def member(self, name: str, value: str) -> str:
        """The value of something named, such as a header; hidden if the name says that it is a secret."""
        told = self._redactor.json(msgspec.json.encode({name: self.text(value)}).decode())
        return str(msgspec.json.decode(told)[name])

    def part(self, data: bytes, low: int, high: int) -> bytes:
        """``data[low:high]`` without secrets, also those that lie across a cut. Bytes that are no UTF-8 stay what they are."""
        plain = b"".join(self._known(data, low, high))
        return self._redactor.text(plain.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _known(self, data: bytes, low: int, high: int) -> list[bytes]:
        pieces, at = [], low
        for found in self._pattern.finditer(data) if self._pattern is not None else ():
            if found.end() > low and found.start() < high:
                pieces += [data[at : max(at, found.start())], HIDDEN.encode()]
                at = found.end()
        return [*pieces, data[at : max(at, high)]]


class Capture:
    """Takes a stream chunk by chunk and keeps its first and last ``each_end`` bytes, its size and its hash."""

    def __init__(self, hiding: Hiding, *, each_end: int = EACH_END) -> None:
        self._hiding = hiding
        self._each_end = each_end
        self._room = each_end + hiding.longest  # what is held of each end
        self._head = bytearray()
        self._tail = bytearray()
        self._hash = hashlib.sha256()
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """The next bytes."""
        self.size += len(chunk)
        self._hash.update(chunk)
        fits = max(self._room - len(self._head), 0)
        self._head += chunk[:fits]
        self._tail += chunk[max(fits, len(chunk) - self._room) :]
        if len(self._tail) > 2 * self._room:
            del self._tail[: -self._room]

    def receipt(self, kind: Kind, **facts: Any) -> Receipt:
        """What was kept, without secrets."""
        whole, between = bytes(self._head + self._tail), self.size - 2 * self._each_end
        if between <= 0:
            return self._receipt(kind, facts, head=self._hiding.part(whole, 0, len(whole)))
        is_held = len(whole) == self.size
        front, back = (whole, whole) if is_held else (bytes(self._head), bytes(self._tail))
        head = self._hiding.part(front, 0, self._each_end)
        tail = self._hiding.part(back, len(back) - self._each_end, len(back))
        return self._receipt(kind, facts, head=head, tail=tail, between=between)

    def _receipt(self, kind: Kind, facts: dict[str, Any], **kept: Any) -> Receipt:
        return Receipt(kind=kind, size=self.size, sha256=self._hash.hexdigest(), facts=facts, **kept)


def note(hiding: Hiding, message: str) -> Receipt:
    """A line of our own about an attempt that left nothing else."""
    capture = Capture(hiding)
    capture.add(message.encode("utf-8", "replace"))
    return capture.receipt("log")
