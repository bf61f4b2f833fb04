"""Room in a bounded queue: who gets in, and when it is worth to ask again. Pure counting; whom it concerns is elsewhere."""

from typing import Literal, get_args

from mainspring.core.durations import MILLISECOND, MINUTE, SECOND
from mainspring.errors import InvalidOption, shown

Overflow = Literal["refuse", "skip", "drop_oldest"]
#: What waits is counted at each enqueue, so a bound is one that can be counted.
LARGEST = 1_000_000
_SOONEST = 100 * MILLISECOND
_LATEST = 5 * MINUTE


def over(waiting: int, coming: int, most: int) -> int:
    """How many more there would be than there may be."""
    return max(0, waiting + coming - most)


def retry_after(oldest_waits_us: int | None, most: int, over: int) -> int:
    """When ``over`` places will be free, in µs, if the queue goes on as it did: what is at its head has come through ``most``
    places in the time that it waits. A second where nothing is known."""
    if oldest_waits_us is None or oldest_waits_us <= 0 or most <= 0:
        return SECOND
    return max(_SOONEST, min(over * oldest_waits_us // most, _LATEST))


def check_bound(most: int | None, overflow: str) -> None:
    """Refuse what cannot bound a queue.

    Raises:
        InvalidOption: naming the option and what to write.
    """
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or not 0 <= most <= LARGEST):
        raise InvalidOption(
            f"max_waiting must be a whole number up to {LARGEST:,}, or None, not {shown(most)}", option="max_waiting"
        )
    if overflow not in get_args(Overflow):
        raise InvalidOption(f'overflow must be "refuse", "skip" or "drop_oldest", not {shown(overflow)}', option="overflow")
