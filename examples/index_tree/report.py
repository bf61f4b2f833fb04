"""What the demo shows: progress while it works (a bar on a terminal, lines elsewhere), and the table at the end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.index_tree.facts import FileFacts


class Teller(Protocol):
    """Where progress is told."""

    def so_far(self, done: int) -> None:
        """So many runs have ended."""

    def say(self, text: str) -> None:
        """Something happened."""


@dataclass(slots=True, kw_only=True)
class Lines:
    """For logs and pipes: a line whenever another fifth is done."""

    console: Console
    total: int
    told: int = 0

    def so_far(self, done: int) -> None:
        """A line for each fifth."""
        fifth = done * 5 // max(self.total, 1)
        if fifth > self.told:
            self.told = fifth
            self.say(f"{done:,} of {self.total:,} runs ended")

    def say(self, text: str) -> None:
        """One line, as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


@dataclass(slots=True, kw_only=True)
class Bar:
    """For a terminal: a bar that moves, and lines above it."""

    progress: Progress
    total: int

    def so_far(self, done: int) -> None:
        """Move the bar."""
        self.progress.update(self.progress.task_ids[0], completed=done)

    def say(self, text: str) -> None:
        """One line above the bar."""
        self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def telling(console: Console, total: int) -> Iterator[Teller]:
    """Progress towards ``total`` runs, in the form that suits the console."""
    if not console.is_terminal:
        yield Lines(console=console, total=total)
        return
    columns = (SpinnerColumn(), TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        progress.add_task("runs", total=total)
        yield Bar(progress=progress, total=total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the rows of all runs say together; ``interrupted`` is one that was, to look at."""

    runs: int
    attempts: int
    interruptions: int
    failures: int
    interrupted: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything the table tells."""

    facts: Sequence[FileFacts]
    tally: Tally
    killed: Sequence[str]
    seconds: float
    left_out: int
    closed: int


def table(story: Story) -> Table:
    """The table at the end."""
    shown = Table(show_header=False, title="what happened", title_justify="left", min_width=60)
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    for what, value in _rows(story):
        shown.add_row(what, value)
    return shown


def _rows(story: Story) -> Iterator[tuple[str, str]]:
    facts, tally = story.facts, story.tally
    yield "files", f"{len(facts):,}  ({_count(facts)})"
    if story.left_out or story.closed:
        yield "left out", f"{story.left_out:,} links and special files, {story.closed:,} folders that cannot be read"
    yield "runs", f"{tally.runs:,}"
    yield "attempts", f"{tally.attempts:,}"
    yield "killed with -9", ", ".join(story.killed) or "nobody"
    yield "interruptions survived", f"{tally.interruptions:,}"
    yield "failure budget spent", f"{tally.failures:,}"
    yield "seconds", f"{story.seconds:.1f}"
    yield "files a second", f"{len(facts) / story.seconds:,.0f}"
    for place, fact in enumerate(sorted(facts, key=lambda each: -each.seconds)[:3]):
        yield "" if place else "slowest files", f"{fact.seconds * 1000:6.0f} ms  {fact.name}"


def _count(facts: Sequence[FileFacts]) -> str:
    sources = [fact for fact in facts if fact.compiles is not None]
    good = sum(fact.compiles is True for fact in sources)
    parts = [
        f"{sum(fact.size for fact in facts):,} bytes",
        f"{sum(fact.lines for fact in facts):,} lines",
        f"{good:,} of {len(sources):,} Python files compile",
    ]
    problems = [fact.problem.partition(":")[0] for fact in facts if fact.problem]
    return ", ".join(parts + [f"{problems.count(kind):,} {kind}" for kind in sorted(set(problems))])
