"""The run: the durable record that some work is due, was tried, and ended. A value, and nothing that acts on it."""

from dataclasses import dataclass

from mainspring.core.states import TERMINAL, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One row of ``runs``, column by column. Instants are UTC microseconds; folding the run's ledger gives the same value.

    ``token`` is the fence: it grows by one with every claim, and is 0 before the first. ``due_at`` is the instant from which
    the run may be claimed, and its place in its lane. ``payload_seq`` names the event whose body is the payload in force. A run
    that was never claimed by ``expires_at`` is skipped; one that has not ended by ``deadline_at`` fails.
    """

    id: str
    lane_id: int
    policy_id: int
    state: State
    reason: str | None
    due_at: int
    token: int
    seq: int
    failures: int
    interruptions: int
    releases: int
    payload_seq: int
    worker_id: str | None
    idempotency_key: str | None
    singleton_key: str | None
    batch_id: str | None
    rerun_of: str | None
    expires_at: int | None
    deadline_at: int | None
    cancel_requested_at: int | None
    created_at: int
    ended_at: int | None

    @property
    def is_overdue(self) -> bool:
        """Whether it was asked to stop because of its deadline: such a run fails, whatever its attempt says."""
        asked_at = self.cancel_requested_at
        return self.reason == "deadline" and None not in {self.deadline_at, asked_at} and asked_at >= self.deadline_at  # type: ignore[operator]

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended: nothing about it changes any more."""
        return self.state in TERMINAL
