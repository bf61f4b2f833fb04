"""The three budgets of a run: failures, interruptions, releases. Each is bounded and none pays for another.

Here: what one more of each costs and whether the run goes on. Not here: state names, events and the present instant.

A counter never exceeds its bound. A failure or an interruption has already happened when it is counted, so the one
that reaches the bound ends the run; a release is a request, so the one past the bound is refused, and ends it.

A deploy must not spend failures, and a run that kills its worker must not loop for ever: hence two counters. A run
given back unstarted, or turned away for lack of capacity, spends nothing and does not come here at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mainspring.core.durations import MILLISECOND, MINUTE, SECOND
from mainspring.core.retry import Backoff, Exponential, clamp_delay, delay_us, jittered
from mainspring.errors import InvalidOption, shown

MOST = 1_000_000
SHORTEST_RELEASE = 100 * MILLISECOND
MOST_AT_ONCE = 10
INTERRUPTION_BACKOFF = Exponential(initial_us=5 * SECOND, factor=2.0, max_us=5 * MINUTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """What a run may spend. ``max_attempts`` counts the first try; ``max_releases`` ``None`` is unbounded."""

    max_attempts: int = 3
    max_interruptions: int = 10
    max_releases: int | None = None

    def __post_init__(self) -> None:
        _check_bound(self.max_attempts, least=1, option="max_attempts", hint="1 is no retry")
        _check_bound(self.max_interruptions, least=1, option="max_interruptions", hint="1 ends the run at the first")
        if self.max_releases is not None:
            _check_bound(self.max_releases, least=0, option="max_releases", hint="None is unbounded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a run has spent so far."""

    failures: int = 0
    interruptions: int = 0
    releases: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying:
    """The run is tried again, due ``delay_us`` after the end of the attempt."""

    spent: Spent
    delay_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The run gave itself back and is due again ``delay_us`` after the end of the attempt."""

    spent: Spent
    delay_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhausted:
    """The run fails. ``reason`` is why; ``None`` leaves the reason to the failure that used the budget up."""

    spent: Spent
    reason: str | None


def after_failure(
    spent: Spent,
    budgets: Budgets,
    *,
    backoff: Backoff,
    jitter: float,
    draw: float,
    after_us: int | None = None,
    called_us: int | None = None,
    final: bool = False,
) -> Retrying | Exhausted:
    """Count one failure. ``after_us`` is the task's own delay for this retry, exact; ``called_us`` is what its function of a
    back-off said; ``final`` ends the budget now."""
    now_spent = replace(spent, failures=spent.failures + 1)
    if final or now_spent.failures >= budgets.max_attempts:
        return Exhausted(spent=now_spent, reason=None)
    if after_us is not None:
        return Retrying(spent=now_spent, delay_us=clamp_delay(after_us))
    if called_us is not None:
        return Retrying(spent=now_spent, delay_us=jittered(called_us, jitter=jitter, draw=draw))
    return Retrying(spent=now_spent, delay_us=delay_us(backoff, now_spent.failures, jitter=jitter, draw=draw))


def after_interruption(spent: Spent, budgets: Budgets, *, shutdown: bool = False) -> Retrying | Exhausted:
    """Count one interruption. The first is due again at once, the next back off from 5 s doubling to 5 min.

    One dead worker says little against a run, and a shutdown says nothing: another worker may take it at once.
    """
    now_spent = replace(spent, interruptions=spent.interruptions + 1)
    if now_spent.interruptions >= budgets.max_interruptions:
        return Exhausted(spent=now_spent, reason="interrupted")
    if shutdown or now_spent.interruptions == 1:
        return Retrying(spent=now_spent, delay_us=0)
    delay = delay_us(INTERRUPTION_BACKOFF, now_spent.interruptions - 1, jitter=0.0, draw=0.0)
    return Retrying(spent=now_spent, delay_us=delay)


def after_release(spent: Spent, budgets: Budgets, *, after_us: int, in_a_row: int = 0) -> Released | Exhausted:
    """Count one release, due again in ``after_us`` but no sooner than 100 ms, lest waiting become spinning.

    ``in_a_row`` counts the releases that asked to come back at once, this one included and nothing else between: up to ten do.
    """
    least = 0 if 1 <= in_a_row <= MOST_AT_ONCE else SHORTEST_RELEASE
    if budgets.max_releases is not None and spent.releases >= budgets.max_releases:
        return Exhausted(spent=spent, reason="deadline")
    return Released(spent=replace(spent, releases=spent.releases + 1), delay_us=max(after_us, least))


def _check_bound(value: object, *, least: int, option: str, hint: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MOST:
        raise InvalidOption(f"{option} must be a whole number from {least} to {MOST} ({hint}), got {shown(value)}", option=option)
