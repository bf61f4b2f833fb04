"""What becomes of a due instant: the dispositions, and where each one leaves its run.

Everything that decides what an occurrence is called lives here. Not here: which instants get which (``core/settling.py`` for those
that are late, ``core/overlap.py`` where no slot is free), and rows.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from mainspring.core.durations import format_instant


class Disposition(StrEnum):
    """The one fate of an occurrence. All but ``waiting`` are final."""

    WAITING = "waiting"
    FIRED = "fired"
    COALESCED = "coalesced"
    SKIPPED_MISFIRE = "skipped_misfire"
    MISSED_WINDOW = "missed_window"
    SKIPPED_OVERLAP = "skipped_overlap"
    BUFFER_FULL = "buffer_full"
    SUPERSEDED = "superseded"
    PAUSED = "paused"
    BLACKOUT = "blackout"
    SUPPRESSED_BY_RESTORE = "suppressed_by_restore"
    WITHDRAWN = "withdrawn"


class Origin(StrEnum):
    """How an occurrence came to be."""

    PLANNED = "planned"
    MANUAL = "manual"
    BACKFILL = "backfill"
    AUDIT = "audit"


#: Why the run of an occurrence that never ran was skipped: a reason of ``model.md``.
SKIP_REASON: Final = {
    Disposition.COALESCED: "misfire",
    Disposition.SKIPPED_MISFIRE: "misfire",
    Disposition.MISSED_WINDOW: "expired",
    Disposition.SKIPPED_OVERLAP: "overlap",
    Disposition.BUFFER_FULL: "overlap",
    Disposition.SUPERSEDED: "superseded",
    Disposition.PAUSED: "paused",
    Disposition.BLACKOUT: "blackout",
    Disposition.SUPPRESSED_BY_RESTORE: "restore",
}


def planned_key(schedule_id: str, nominal: int) -> str:
    """The key of what a rule said: one for each instant, whoever settles it."""
    whole, dot, fraction = format_instant(nominal).removesuffix("Z").partition(".")
    return f"{schedule_id}:{whole}{dot}{fraction.ljust(6, '0') if dot else ''}Z"


def manual_key(run_id: str) -> str:
    """The key of a trigger: its own."""
    return f"manual:{run_id}"
