"""The policy of a run: what is captured when it is created, so that a deploy changes only new runs.

Equal policies are stored once, under an id that is a hash of what they say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mainspring.core import retry
from mainspring.core.budgets import Budgets
from mainspring.core.durations import DAY, HOUR, SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How often a run is tried, how long it waits between, and how long one attempt may take.

    ``timeout_us`` bounds one attempt, from the start of user code (None: its deadline does); ``heartbeat_timeout_us`` is how long
    it may say nothing; ``grace_us`` is how long it may then take to stop. From its end on the run is kept for ``run_ttl_us``, its
    result for ``result_ttl_us`` (0 keeps none), and the receipts of its attempts (tracebacks) for ``receipt_ttl_us``.
    """

    budgets: Budgets = field(default_factory=Budgets)
    backoff: retry.Backoff = retry.DEFAULT_BACKOFF
    jitter: float = retry.DEFAULT_JITTER
    timeout_us: int | None = 1 * HOUR
    grace_us: int = 30 * SECOND
    heartbeat_timeout_us: int | None = None
    kinds: retry.Kinds = field(default_factory=retry.Kinds)
    run_ttl_us: int = 30 * DAY
    result_ttl_us: int = 7 * DAY
    receipt_ttl_us: int = 14 * DAY

    def as_data(self) -> dict[str, Any]:
        """The policy as JSON-able data, every field named."""
        return {
            "max_attempts": self.budgets.max_attempts,
            "max_interruptions": self.budgets.max_interruptions,
            "max_releases": self.budgets.max_releases,
            "backoff": retry.as_data(self.backoff),
            "jitter": self.jitter,
            "timeout_us": self.timeout_us,
            "grace_us": self.grace_us,
            "heartbeat_timeout_us": self.heartbeat_timeout_us,
            "retry_on": list(self.kinds.on),
            "never_on": list(self.kinds.never),
            "run_ttl_us": self.run_ttl_us,
            "result_ttl_us": self.result_ttl_us,
            "receipt_ttl_us": self.receipt_ttl_us,
        }

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> "Policy":
        """Undo ``as_data``."""
        return Policy(
            budgets=Budgets(
                max_attempts=data["max_attempts"],
                max_interruptions=data["max_interruptions"],
                max_releases=data["max_releases"],
            ),
            backoff=retry.from_data(data["backoff"]),
            jitter=data["jitter"],
            timeout_us=data["timeout_us"],
            grace_us=data["grace_us"],
            heartbeat_timeout_us=data["heartbeat_timeout_us"],
            kinds=retry.Kinds(on=tuple(data["retry_on"]), never=tuple(data["never_on"])),
            run_ttl_us=data["run_ttl_us"],
            result_ttl_us=data["result_ttl_us"],
            receipt_ttl_us=data["receipt_ttl_us"],
        )
