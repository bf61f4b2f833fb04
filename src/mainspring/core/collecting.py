"""Runs that are handed to their task many at a time: what that means, and which of them may go together. Nothing here runs them."""

from dataclasses import dataclass
from typing import Literal

from mainspring.core.durations import MINUTE, Duration, parse_duration
from mainspring.errors import InvalidOption

MOST_MEMBERS = 1_000
#: After so many failures a run is tried without company: it may be what makes the others fail.
ALONE_AFTER_FAILURES = 2


@dataclass(frozen=True, slots=True)
class Collect:
    """Hand a task its runs up to ``size`` at a time. The first one waits at most ``wait`` for the others. ``by="key"``: only runs
    of one concurrency key go together."""

    size: int = 100
    wait: Duration = "1s"
    by: Literal["key"] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or isinstance(self.size, bool) or not 1 <= self.size <= MOST_MEMBERS:
            raise InvalidOption(f"size of Collect must be from 1 to {MOST_MEMBERS:,}, not {self.size!r}", option="collect")
        if parse_duration(self.wait, option="collect") > 10 * MINUTE:
            raise InvalidOption(f'wait of Collect must be at most "10m", not {self.wait!r}', option="collect")
        if self.by not in {None, "key"}:
            raise InvalidOption(f'by of Collect must be "key" or None, not {self.by!r}', option="collect")

    @property
    def wait_seconds(self) -> float:
        """How long the first waits for company."""
        return parse_duration(self.wait, option="collect") / 1e6


def goes_alone(*, failures: int, interruptions: int) -> bool:
    """Whether a run is to be tried without company: it failed twice, or its worker died with it."""
    return failures >= ALONE_AFTER_FAILURES or interruptions > 0
