"""What the end of a program means for the attempt: by its exit status, or the signal that ended it. Not here: running one."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from mainspring.core.attempts import Dropped, Failed, GaveItselfBack, Outcome, Succeeded
from mainspring.core.durations import MINUTE

RELEASE_CODE = 75  # what sendmail and others say for "try again later"

_LIMITS = {signal.SIGXCPU: "its limit of CPU time", signal.SIGXFSZ: "its limit of file size"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitCodes:
    """Which exit status says what; 0 is always a success, and what is not named is a failure."""

    success: tuple[int, ...] = (0,)
    release: int | None = RELEASE_CODE
    skip: int | None = None
    release_after_us: int = 1 * MINUTE


def judged(status: int, codes: ExitCodes, *, last_words: str = "") -> Outcome:
    """What ``status`` means: an exit status, or a signal's number below zero. ``last_words`` is what it said last."""
    if status == 0 or status in codes.success:
        return Succeeded(b'{"exit_status":%d}' % status)
    if status == codes.release:
        return GaveItselfBack(after_us=codes.release_after_us, reason=f"exit_{status}")
    if status == codes.skip:
        return Dropped(f"exit_{status}")
    said = f": {last_words}" if last_words else ""
    if status < 0:
        return Failed(code="killed", message=f"the program was ended by {_signal(-status)}{said}")
    return Failed(code=f"exit_{status}", message=f"the program ended with exit status {status}{said}")


def _signal(number: int) -> str:
    if number not in set(signal.Signals):
        return f"signal {number}"
    name = signal.Signals(number).name
    if number == signal.SIGKILL:
        return f"{name}; if nobody here sent it, the system was out of memory"
    return f"{name}, {_LIMITS[signal.Signals(number)]}" if number in _LIMITS else name
