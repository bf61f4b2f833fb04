"""Logins of people: what can be a password, how long a login lasts, and how failures slow the next try.

What ``model.md`` calls a session is a worker that is woken; a person at a browser has a *login*.
Not here: the hash of a password (``codec/passwords``), the cookie's text (``credentials``).
"""

import unicodedata
from dataclasses import dataclass

from mainspring.core.durations import DAY, HOUR, MINUTE, SECOND, format_duration
from mainspring.core.ids import stable_id
from mainspring.errors import InvalidOption, LoginThrottled

#: A login ends when nobody used it for so long, and whatever is done with it after so long.
IDLE_US = 12 * HOUR
ABSOLUTE_US = 7 * DAY
#: One person has at most so many at a time; the oldest go.
MOST_LOGINS = 50

SHORTEST_PASSWORD = 12
LONGEST_PASSWORD = 1_024

#: So many failures cost nothing. The next must wait, each twice as long as the one before, up to a bound: whoever guesses gets some
#: 300 tries a day, and whoever is meant by the guesses is kept out for no longer than five minutes after they end.
FREE_FAILURES = 5
LONGEST_WAIT_US = 5 * MINUTE
_FIRST_WAIT_US = 1 * SECOND
_FORGOTTEN_US = 1 * DAY
#: Failures are counted by a hash of the name, so that names nobody has cannot fill the table, nor show that nobody has them.
BUCKETS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Somebody's way in, without its secret. ``idle_us`` was captured when it was opened."""

    id: str
    user: str
    opened_at: int
    seen_at: int
    idle_us: int
    expires_at: int


def is_over(login: Login, now: int) -> bool:
    """Whether its time is over: unused for too long, or simply old."""
    return now >= login.expires_at or now >= login.seen_at + login.idle_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """Tries under a name since the last that succeeded, and from when on there may be another."""

    tries: int
    opens_at: int


def next_try(throttle: Throttle | None, now: int) -> Throttle:
    """One more try, counted as a failure until it succeeds: so a hundred at once are as slow as a hundred in a row.

    Raises:
        LoginThrottled: it comes too early. It is not counted.
    """
    if throttle is None or now - throttle.opens_at >= _FORGOTTEN_US:
        throttle = Throttle(tries=0, opens_at=now)
    if now < throttle.opens_at:
        wait = throttle.opens_at - now
        raise LoginThrottled(
            f"too many tries to log in under this name; try again in {format_duration(-(-wait // SECOND) * SECOND)}",
            retry_after=wait / SECOND,
        )
    return Throttle(tries=throttle.tries + 1, opens_at=now + wait_after(throttle.tries + 1))


def wait_after(tries: int) -> int:
    """How long nobody may try after so many tries that failed."""
    beyond = tries - FREE_FAILURES
    return 0 if beyond < 0 else min(_FIRST_WAIT_US << min(beyond, 32), LONGEST_WAIT_US)


def bucket_of(name: str) -> int:
    """Where tries under a name are counted."""
    return stable_id("login", name) % BUCKETS


def checked_password(password: str, name: str) -> str:
    """A new password in the one spelling (NFKC) in which it is hashed, if it may be one. No message holds any of it.

    Raises:
        InvalidOption: too short, too long, not storable, or the name itself.
    """
    spelt = spelt_password(password)
    if not SHORTEST_PASSWORD <= len(spelt) <= LONGEST_PASSWORD:
        raise InvalidOption(
            f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters, this one {len(spelt)}", option="password"
        )
    if name.casefold() in spelt.casefold() and len(spelt) < len(name) + SHORTEST_PASSWORD:
        raise InvalidOption("a password is more than the name with something beside it", option="password")
    return spelt


def spelt_password(password: str) -> str:
    """A password as it is hashed: the same however a keyboard composes its letters.

    Raises:
        InvalidOption: it holds NUL or half of a surrogate pair.
    """
    if not isinstance(password, str) or "\x00" in password or any("\ud800" <= letter <= "\udfff" for letter in password):
        raise InvalidOption("a password is text without NUL", option="password")
    return unicodedata.normalize("NFKC", password[: LONGEST_PASSWORD + 1])
