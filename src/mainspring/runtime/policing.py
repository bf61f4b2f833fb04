"""What a task's own code says of its policy at the end of an attempt, and where its code can run.

Here: the function of a back-off, the lane of a payload that was given back, and whether a process can import a task. Not here: what
an attempt came to (``outcomes``), and what becomes of the run (``core/attempts.py``).
"""

import logging
from dataclasses import replace

from mainspring.core.attempts import Failed, Interrupted, Outcome, Stopped
from mainspring.core.lanes import Lane
from mainspring.core.retry import Called, called_delay_us
from mainspring.registry import TaskSpec
from mainspring.runtime.worker import Assignment

log = logging.getLogger("mainspring")


def delayed(spec: TaskSpec, assignment: Assignment, failed: Failed) -> Failed:
    """A failure with the delay that the task's function of a back-off gives it. If that raises, the run goes by the default, and
    its ledger says so."""
    if spec.delay is None or failed.final or failed.after_us is not None or not isinstance(assignment.policy.backoff, Called):
        return failed
    try:
        return replace(failed, called_us=called_delay_us(spec.delay, assignment.claimed.failures + 1, failed))
    except Exception as error:  # noqa: BLE001  (a function of the user's)
        log.warning("the back-off of %s raised %r; the default counts", spec.name, error)
        return replace(failed, note=f"backoff raised {type(error).__qualname__}; the default was taken")


def lane_of_now(spec: TaskSpec, lane: Lane) -> Lane:
    """The lane of a run whose payload was made anew, by this code."""
    return replace(lane, version=spec.version, fingerprint=spec.fingerprint)


def is_importable(spec: TaskSpec) -> bool:
    """Whether a fresh process finds the code of a task by its name."""
    return "<" not in spec.function.__qualname__


def after_stop(why: str | None, outcome: Outcome) -> Outcome:
    """What an outcome means once the attempt was asked to stop for ``why``."""
    match why:
        case "timeout":
            return Failed(code="timeout", message="the attempt took longer than its timeout", type="TimeoutError")
        case "silent":
            return Failed(code="timeout", message="the attempt gave no sign of life for its heartbeat_timeout", type="TimeoutError")
        case "shutdown" if isinstance(outcome, Stopped):
            return Interrupted("shutdown", shutdown=True)
        case _:
            return outcome
