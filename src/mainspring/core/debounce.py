"""Debounce: many calls in a short time become one run, and this is when it is due. Pure arithmetic on instants.

A burst is a row of calls of which each comes less than ``quiet`` after the one before. Here: what bounds a burst, and when its run
is due. Not here: whose burst it is, and where that is kept (``operations/singletons.py``).
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from mainspring.core.durations import LONGEST, Duration, parse_duration
from mainspring.errors import InvalidOption, shown

Edge = Literal["trailing", "leading", "both"]
#: What becomes of a call whose singleton has an owner: it gets the owner, is refused on record, or swaps the owner's payload.
OnSingleton = Literal["existing", "skip", "replace"]
_PATIENCE = 10


@dataclass(frozen=True, slots=True)
class Debounce:
    """Many calls of one singleton become one run with the latest payload, ``quiet`` after the last of them.

    A steady stream of calls still runs once in ``max_wait`` (10 x ``quiet`` unless set). ``edge`` says what runs: ``"trailing"``
    the last call, when it has been quiet; ``"leading"`` the first call, at once, and nothing until it has been quiet; ``"both"``
    the first at once, and the last when it has been quiet, if there was more than one.

    Raises:
        InvalidOption: a span of nothing, ``max_wait`` below ``quiet``, another edge.
    """

    quiet: Duration
    max_wait: Duration | None = None
    edge: Edge = "trailing"
    quiet_us: int = field(init=False, repr=False, compare=False)
    max_wait_us: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        quiet = parse_duration(self.quiet, option="quiet")
        if quiet == 0:
            raise InvalidOption('quiet must be longer than nothing; write Debounce("5s")', option="quiet")
        longest = min(_PATIENCE * quiet, LONGEST) if self.max_wait is None else parse_duration(self.max_wait, option="max_wait")
        if longest < quiet:
            told = f"max_wait must be at least quiet, and {self.max_wait!r} is less than {self.quiet!r}"
            raise InvalidOption(told, option="max_wait")
        if self.edge not in get_args(Edge):
            raise InvalidOption(f'edge must be "trailing", "leading" or "both", not {self.edge!r}', option="edge")
        object.__setattr__(self, "quiet_us", quiet)
        object.__setattr__(self, "max_wait_us", longest)

    @property
    def leads(self) -> bool:
        """Whether the first call of a burst runs at once."""
        return self.edge != "trailing"

    def due_at(self, first_at: int, last_at: int) -> int:
        """When the burst whose first and last calls came then is over: its run is due, and the next call begins another."""
        return min(last_at + self.quiet_us, first_at + self.max_wait_us)


def throttle(span: Duration) -> Debounce:
    """At most one run in ``span``: the first call runs at once, and the others in that time are answered with it.

    Raises:
        InvalidOption: a span of nothing.
    """
    if parse_duration(span, option="throttle") == 0:
        raise InvalidOption('throttle must be longer than nothing; write throttle="10s"', option="throttle")
    return Debounce(span, span, "leading")


def gathering(debounce: Debounce | None, span: Duration | None) -> Debounce | None:
    """What ``debounce=`` and ``throttle=`` come to.

    Raises:
        InvalidOption: both, or something else than a ``Debounce``.
    """
    if debounce is not None and span is not None:
        raise InvalidOption("debounce= and throttle= are two ways to gather calls; give one", option="throttle")
    if debounce is not None and not isinstance(debounce, Debounce):
        raise InvalidOption(f'debounce must be a Debounce, such as Debounce("5s"), not {shown(debounce)}', option="debounce")
    return debounce if span is None else throttle(span)


def check_singleton(has_key: bool, policy: str | None, debounce: Debounce | None, *, moved: bool) -> None:
    """Refuse what says nothing without a singleton, and what contradicts itself. ``moved``: a due time is given too.

    Raises:
        InvalidOption: naming the option and what to write.
    """
    if policy not in {None, *get_args(OnSingleton)}:
        told = ", ".join(f'"{name}"' for name in get_args(OnSingleton))
        raise InvalidOption(f"on_singleton must be one of {told}, not {shown(policy)}", option="on_singleton")
    if not has_key and (policy is not None or debounce is not None):
        name = "on_singleton" if policy is not None else "debounce"
        raise InvalidOption(f"{name}= says what becomes of a second call of a singleton; give singleton= too", option=name)
    if debounce is not None and policy not in {None, "replace"}:
        raise InvalidOption(
            'a debounced call replaces the one before; leave on_singleton= out, or "replace"', option="on_singleton"
        )
    if debounce is not None and moved:
        raise InvalidOption("debounce= and throttle= say when a run is due; leave delay= and at= out", option="delay")
