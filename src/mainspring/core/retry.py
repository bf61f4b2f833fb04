"""How long a failed run waits before it is tried again.

Here: the back-off policies, their delay for the n-th retry, which types of errors are tried again, and the form in which a run
keeps its policy. Not here: whether budget is left (``core/budgets.py``), and the dice: jitter takes a number drawn elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A function of the task's own, which only a worker that has the code can call; whoever has not goes by ``otherwise``."""

    otherwise: Exponential = field(default_factory=Exponential)


Backoff: TypeAlias = Fixed | Linear | Exponential | Steps | Called
DEFAULT_BACKOFF = Exponential()

#: ``backoff=`` as a function: from which retry (1 is the first) and the failure before it (``code``, ``message``, ``type``) to
#: seconds.
DelayFunction: TypeAlias = Callable[[int, Any], float]


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


def parse_backoff(value: Backoff | Sequence[Duration] | DelayFunction) -> Backoff:
    """Read the ``backoff`` option of a task: a policy, a list of delays, or a function."""
    match value:
        case Fixed() | Linear() | Exponential() | Steps() | Called():
            return value
        case value if callable(value):
            return Called()
        case list() | tuple():
            return steps(*value)
    raise InvalidOption(
        'backoff must be fixed("5s"), linear("5s", max="1m"), exponential("1s", max="5m"), a list of delays or a function, '
        f"got {shown(value)}",
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
    return jittered(_full_delay(backoff, n), jitter=jitter, draw=draw)


def jittered(delay: int, *, jitter: float, draw: float) -> int:
    """A delay of 0 to 30 days, made shorter by chance."""
    full = clamp_delay(delay)
    return full - int(full * jitter * draw)


def called_delay_us(function: DelayFunction, n: int, failure: Any) -> int:
    """What a task's own function says, in µs, clamped to 0 to 30 days. Raises what it raises, and ValueError for what is no number.

    A ``timedelta`` is as good as a number of seconds.
    """
    answer = function(n, failure)
    seconds = answer.total_seconds() if isinstance(answer, timedelta) else answer
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds != seconds:
        raise ValueError(f"backoff must give seconds, not {shown(answer)}")
    return clamp_delay(int(max(0.0, min(seconds, LONGEST_DELAY / SECOND)) * SECOND))


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
        case Called(otherwise=otherwise):
            return _grown(otherwise, n)
        case _:
            assert_never(backoff)


def _grown(backoff: Exponential, n: int) -> int:
    try:
        grown = backoff.initial_us * backoff.factor ** min(n - 1, 2**62)  # a power beyond that is no float's exponent
    except OverflowError:
        grown = float("inf") if backoff.initial_us else 0.0
    return round(min(grown, backoff.max_us))


# --- which errors are tried again -----------------------------------------------------------------------------------


#: ``retry_on=`` and ``never_on=``: one type of exceptions, or some.
TypesOption: TypeAlias = type[BaseException] | Sequence[type[BaseException]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """Types of errors by their full names, as a run keeps them: those that are tried again, and those that never are."""

    on: tuple[str, ...] = ()
    never: tuple[str, ...] = ()

    def retries(self, error: type[BaseException]) -> bool:
        """Whether an error of this type is worth another try: the most specific of the types that it is decides, and where none
        is (or one is named both ways), it is not. A type that no list names is tried again unless there is a list of those that
        are."""
        ancestors = {full_name(kind): kind for kind in error.__mro__}
        never = [ancestors[name] for name in self.never if name in ancestors]
        on = [ancestors[name] for name in self.on if name in ancestors]
        if not on:
            return not (never or self.on)
        return any(all(kind is not other and issubclass(kind, other) for other in never) for kind in on)


def kinds_of(retry_on: TypesOption, never_on: TypesOption) -> Kinds:
    """Read the options ``retry_on`` and ``never_on`` of a task."""
    return Kinds(on=_names(retry_on, "retry_on"), never=_names(never_on, "never_on"))


def full_name(kind: type[BaseException]) -> str:
    """A type's name with its module's: how a run that was made yesterday knows the type of today."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _names(kinds: object, option: str) -> tuple[str, ...]:
    given = (kinds,) if isinstance(kinds, type) else kinds
    if not isinstance(given, list | tuple | set | frozenset):
        raise InvalidOption(
            f"{option} must be a list of exception types, such as [ConnectionError], got {shown(kinds)}", option=option
        )
    for kind in given:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise InvalidOption(f"{option} must hold types of exceptions, got {shown(kind)}", option=option)
    return tuple(sorted(full_name(kind) for kind in given))


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
        case Called(otherwise=otherwise):
            return ["called", otherwise.initial_us, otherwise.factor, otherwise.max_us]
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
        case ["called", int(initial), float() | int() as factor, int(cap)]:
            return Called(otherwise=Exponential(initial_us=initial, factor=float(factor), max_us=cap))
    raise BrokenInvariant(f"a run's stored back-off cannot be read: {shown(data)}", data=data)
