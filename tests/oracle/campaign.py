"""A campaign: so many stories, each told to the oracle and to us.

Here: the comparison, in both directions, and running it under seeds. Not here: the command line (``__main__.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings

from mainspring.core.cron import Dialect
from mainspring.core.rules import CronRule
from mainspring.core.timetable import Surroundings, Timetable, timetable
from mainspring.zones import zone
from tests.oracle.brute import Story, expected, stories

SECOND = 1_000_000
PART = 200


@dataclass(slots=True)
class Tally:
    """What was met."""

    stories: int = 0
    instants: int = 0


class WrongOccurrencesError(AssertionError):
    """We and the oracle disagree."""


def judge(story: Story, tally: Tally) -> None:
    """Compare what is due, asked forwards and backwards."""
    found, right = _ours(story), sorted(expected(story))
    tally.stories += 1
    tally.instants += len(right)
    ours = list(_forwards(found, story))
    if ours != right or list(_backwards(found, story)) != right[::-1]:
        missing, more = set(right) - set(ours), set(ours) - set(right)
        told = f"missing {sorted(missing)[:5]}, too many {sorted(more)[:5]}" if missing or more else "backwards is not forwards"
        raise WrongOccurrencesError(f"{story!r}: {told}")


def _ours(story: Story) -> Timetable:
    rule = CronRule(cron=story.expression.text, timezone=story.zone, dialect=Dialect(story.expression.dialect), dst=story.dst)
    return timetable(rule, Surroundings(zones=zone, created_at=0))


def _forwards(found: Timetable, story: Story) -> list[int]:
    return [at // SECOND for at in found.between(story.since * SECOND - 1, story.until * SECOND - 1)]


def _backwards(found: Timetable, story: Story) -> list[int]:
    seconds, at = [], found.before(story.until * SECOND)
    while at is not None and at >= story.since * SECOND:
        seconds.append(at // SECOND)
        at = found.before(at)
    return seconds


def run_part(*, number: int, examples: int, shrink: bool = True) -> Tally:
    """Judge so many stories under one seed; the same seed gives the same stories.

    Raises:
        WrongOccurrencesError: the smallest story found about which we are wrong.
    """
    tally = Tally()

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(stories())
    def part(story: Story) -> None:
        judge(story, tally)

    part()
    return tally
