"""Lease arithmetic: when to renew, when to stop trusting, when nothing may be reaped.

Here: sums over microseconds that are given. Not here: clocks, and who holds what; correctness rests on the fencing
token, so that a clock may change *when* something happens and never *whether* it happens twice.

The life of a lease, by its holder's monotonic clock, counted from the last renewal the database *confirmed*:

    0 ─────────── 1/3 ─────────── 2/3 ─────────── 9/10 ──── 1
    confirmed     renew           renew again     stop      may be reaped

At nine tenths the holder cancels the user code and reports nothing; the last tenth is the head start that the next
claim does not get. Expiry alone does not end an attempt: the next claim's token does.
"""

from __future__ import annotations

from mainspring.core.durations import SECOND

DEFAULT_TTL = 30 * SECOND


def renew_due_at(confirmed_at: int, ttl: int = DEFAULT_TTL) -> int:
    """When to renew: a third of the TTL after the last confirmed renewal, so that two may fail."""
    return confirmed_at + ttl // 3


def trusted_until(confirmed_at: int, ttl: int = DEFAULT_TTL) -> int:
    """The first instant at which the holder no longer trusts its lease: nine tenths of the TTL after confirmation.

    Count from when the confirmed renewal was *sent*: the database's count began no earlier than that.
    """
    return confirmed_at + ttl * 9 // 10


def is_trusted(confirmed_at: int, now: int, ttl: int = DEFAULT_TTL) -> bool:
    """Whether the holder may go on working at ``now``. All three by the holder's monotonic clock."""
    return now < trusted_until(confirmed_at, ttl)


def longest_backoff_us(ttl: int) -> int:
    """How long a holder may wait between two tries to reach a database that was away: a quarter of the TTL, at most 5 s.

    After an outage the fleet has one TTL to renew (``reap_hold_until``), so everybody must try several times within it.
    """
    return min(5 * SECOND, ttl // 4)


def reap_hold_until(last_tick_at: int | None, now: int, ttl: int = DEFAULT_TTL) -> int | None:
    """The reaper's brake: until when nothing may be reaped, or ``None`` if this tick sets no hold.

    After an outage of the database itself every lease has lapsed and none of it is a worker's fault, so the fleet
    gets one whole TTL to renew. The database was away, as far as it can tell, when it saw no tick for longer than
    half a TTL (``last_tick_at`` is the previous one; ``None``: there never was one). A hold is set by the one tick that
    ends the silence and outlives it: keep it beside ``last_tick_at`` and let the later of two holds win.
    ``ttl`` is the longest in use; both instants are the database's.
    """
    was_silent = last_tick_at is None or now - last_tick_at > ttl // 2
    return now + ttl if was_silent else None


def may_be_reaped(expires_at: int, now: int, hold_until: int | None) -> bool:
    """Whether a lease has lapsed and no hold protects it."""
    return expires_at <= now and (hold_until is None or hold_until <= now)
