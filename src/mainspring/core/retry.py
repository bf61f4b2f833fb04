"""How long a failed run waits before it is tried again.

Here: the back-off policies, their delay for the n-th retry, and the form in which a run keeps its policy. Not here:
whether there is another try at all (``core/budgets.py``), and the dice: jitter takes a number that was drawn elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, assert_never

from mainspring.core.durations import DAY, MINUTE, SECOND, Duration, parse_duration
from mainspring.errors import BrokenInvariant, InvalidOption, shown

LONGEST_DELAY = 30 * DAY
DEFAULT_JITTER = 0.1

# --- policies ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """The same delay before every retry."""

    delay_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """``step x n``, at most ``max``."""

    step_us: int
    max_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """``initial x factor^(n-1)``, at most ``max``."""

    initial_us: int = 1 * SECOND
    factor: float = 2.0
    max_us: int = 5 * MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The n-th of a list; past its end, the last."""

    delays_us: tuple[int, ...]


Backoff: TypeAlias = Fixed | Linear | Exponential | Steps
DEFAULT_BACKOFF = Exponential()


def fixed(delay: Duration) -> Fixed:
    """Wait ``delay`` before every retry."""
    return Fixed(delay_us=parse_duration(delay, option="delay"))


def linear(step: Duration, max: Duration) -> Linear:
    """Wait ``step`` before the first retry, twice that before the second, and so on up to ``max``."""
    policy = Linear(step_us=parse_duration(step, option="step"), max_us=parse_duration(max, option="max"))
    _check_cap("step", step, policy.step_us, max, policy.max_us)
    return policy


def exponential(initial: Duration = "1s", factor: float = 2.0, max: Duration = "5m") -> Exponential:
    """Wait ``initial`` before the first retry and ``factor`` times as long before each next one, up to ``max``."""
    policy = Exponential(
        initial_us=parse_duration(initial, option="initial"),
        factor=_check_factor(factor),
        max_us=parse_duration(max, option="max"),
    )
    _check_cap("initial", initial, policy.initial_us, max, policy.max_us)
    return policy


def steps(*delays: Duration) -> Steps:
    """Wait the first delay before the first retry, the second before the second; past the end, the last."""
    if not delays:
        raise InvalidOption('backoff needs at least one delay, such as ["1s", "10s", "1m"]', option="backoff")
    return Steps(delays_us=tuple(parse_duration(delay, option="backoff") for delay in delays))


def parse_backoff(value: Backoff | Sequence[Duration]) -> Backoff:
    """Read the ``backoff`` option of a task: a policy, or a list of delays."""
    match value:
        case Fixed() | Linear() | Exponential() | Steps():
            return value
        case list() | tuple():
            return steps(*value)
    raise InvalidOption(
        f'backoff must be fixed("5s"), linear("5s", max="1m"), exponential("1s", max="5m") or a list of delays, got {shown(value)}',
        option="backoff",
    )


def check_jitter(value: object) -> float:
    """Return ``value`` if it is a share of the delay, 0 (none) to 1 (anything down to no delay)."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise InvalidOption(f"jitter must be a number from 0 to 1, such as 0.1, got {shown(value)}", option="jitter")


def _check_factor(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 1 <= value <= 1000:
        return float(value)
    raise InvalidOption(f"factor must be a number from 1 to 1000, such as 2, got {shown(value)}", option="factor")


def _check_cap(what: str, first: object, first_us: int, cap: object, cap_us: int) -> None:
    if first_us > cap_us:
        raise InvalidOption(f"max {shown(cap)} is shorter than {what} {shown(first)}: raise max, or use fixed()", option="max")


# --- delays -----------------------------------------------------------------------------------------------------------


def delay_us(backoff: Backoff, n: int, *, jitter: float = DEFAULT_JITTER, draw: float) -> int:
    """Microseconds from the end of an attempt to retry ``n`` (1 is the first), within 0 to 30 days.

    ``draw`` in [0, 1) picks a delay in [d x (1 - jitter), d]: jitter only ever shortens, so a cap stays a cap.
    """
    if n < 1:
        raise BrokenInvariant(f"retries count from 1, got {n}", n=n)
    full = clamp_delay(_full_delay(backoff, n))
    return full - int(full * jitter * draw)


def clamp_delay(delay: int) -> int:
    """The nearest delay a run may wait between tries: 0 to 30 days."""
    return max(0, min(delay, LONGEST_DELAY))


def _full_delay(backoff: Backoff, n: int) -> int:
    match backoff:
        case Fixed():
            return backoff.delay_us
        case Linear():
            return min(backoff.step_us * n, backoff.max_us)
        case Exponential():
            return _grown(backoff, n)
        case Steps():
            return backoff.delays_us[min(n, len(backoff.delays_us)) - 1]
        case _:
            assert_never(backoff)


def _grown(backoff: Exponential, n: int) -> int:
    try:
        grown = backoff.initial_us * backoff.factor ** min(n - 1, 2**62)  # a power beyond that is no float's exponent
    except OverflowError:
        grown = float("inf") if backoff.initial_us else 0.0
    return round(min(grown, backoff.max_us))


# --- what a run keeps -------------------------------------------------------------------------------------------------


def as_data(backoff: Backoff) -> list[str | int | float]:
    """The policy as a small JSON list, for the row of a run: its kind, then its numbers in microseconds."""
    match backoff:
        case Fixed():
            return ["fixed", backoff.delay_us]
        case Linear():
            return ["linear", backoff.step_us, backoff.max_us]
        case Exponential():
            return ["exponential", backoff.initial_us, backoff.factor, backoff.max_us]
        case Steps():
            return ["steps", *backoff.delays_us]
        case _:
            assert_never(backoff)


def from_data(data: Any) -> Backoff:
    """The policy that ``as_data`` wrote. Raises ``BrokenInvariant`` for anything else: only we write it."""
    match data:
        case ["fixed", int(delay)]:
            return Fixed(delay_us=delay)
        case ["linear", int(step), int(cap)]:
            return Linear(step_us=step, max_us=cap)
        case ["exponential", int(initial), float() | int() as factor, int(cap)]:
            return Exponential(initial_us=initial, factor=float(factor), max_us=cap)
        case ["steps", int(first), *rest] if all(isinstance(delay, int) for delay in rest):
            return Steps(delays_us=(first, *rest))
    raise BrokenInvariant(f"a run's stored back-off cannot be read: {shown(data)}", data=data)
