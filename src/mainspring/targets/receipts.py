"""Receipts: what an attempt of a target left, bounded and without secrets; and how they are encoded.

A receipt belongs to the attempt, is written under its fence together with the finish, and is there for failures too. Here: the
values. Not here: where they are kept, and making them from what was read (``capture``).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mainspring.core.attempts import Outcome

Kind = Literal["stdout", "stderr", "http_response", "result", "log"]


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One artefact. ``size`` and ``sha256`` are of all that there was; kept are ``head`` and, after a gap of ``between`` bytes,
    ``tail``: raw bytes, whatever they are, except that secrets are hidden. ``facts`` is what else is known, by name."""

    kind: Kind
    size: int
    sha256: str
    head: bytes
    tail: bytes = b""
    between: int = 0
    facts: dict[str, Any] = {}

    @property
    def kept(self) -> int:
        """How many bytes are kept."""
        return len(self.head) + len(self.tail)

    @property
    def is_truncated(self) -> bool:
        """Whether something was left out."""
        return self.between > 0

    @property
    def text(self) -> str:
        """What is kept, for people: bytes that are no UTF-8 escaped, the gap named."""
        if not self.is_truncated:
            return _shown(self.head + self.tail)
        return f"{_shown(self.head)}\n… [{self.between:,} bytes left out] …\n{_shown(self.tail)}"

    def encoded(self) -> bytes:
        """The receipt as JSON; the bytes are base64 in it."""
        return msgspec.json.encode(self)

    @staticmethod
    def decoded(body: bytes) -> Receipt:
        """Undo ``encoded``.

        Raises:
            msgspec.MsgspecError: it is none.
        """
        return msgspec.json.decode(body, type=Receipt)


class Ran(msgspec.Struct, frozen=True):
    """How an attempt of a target ended, and what it left."""

    outcome: Outcome
    receipts: tuple[Receipt, ...] = ()


def _shown(kept: bytes) -> str:
    return kept.decode("utf-8", "backslashreplace")
