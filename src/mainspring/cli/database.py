"""``mainspring db …``: migrate, look at the schema, check what is stored, forget what is old."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected, flags_of

if TYPE_CHECKING:
    from mainspring.client import Client
    from mainspring.core.run import Run
    from mainspring.store.database import Transaction

app = typer.Typer(help="Migrate, look at, check and prune the database.", no_args_is_help=True, rich_markup_mode=None)

_PAGE = 100
_PRUNE_PAGE = 1_000


@app.command("migrate")
def migrate(context: typer.Context) -> None:
    """Bring the database to this program's schema. Safe to run from many machines at once."""
    with connected(context, create=True, current=False) as client:
        steps = client.migrate()
    for step in steps:
        print(f"applied {step}")
    output.tell("the database is current")


@app.command("status")
def status(context: typer.Context, json: output.Json = False) -> None:
    """Which schema the database has, what it lacks, and how many runs are in which state."""
    from mainspring.store.migrate import current_version, migrations, pending

    with connected(context, current=False) as client:
        missing = [f"{step.version:04d} {step.name}" for step in pending(client.database)]
        counts = {} if missing else client.runs.counts()
        found = {
            "database": flags_of(context).settings()["database"].shown,
            "schema": current_version(client.database),
            "newest_schema": migrations()[-1].version,
            "missing": missing,
            "runs": counts,
        }
    if json:
        output.show_json(found)
    else:
        output.show_fields(found | {"missing": ", ".join(missing), "runs": None} | counts)
    if missing:
        output.tell("run: mainspring db migrate")
        raise typer.Exit(1)


@app.command("restore")
def restore(context: typer.Context) -> None:
    """Say that this database was restored from a backup: what was due since waits for `mainspring hold decide`."""
    with connected(context) as client:
        held = client.holds.restored()
    print(f"schedules held: {held}")
    if held:
        output.tell(
            "look: mainspring hold list; decide: mainspring hold decide --policy policy|suppress --reason ... NAME, or --all"
        )


@app.command("check")
def check(
    context: typer.Context,
    sample: Annotated[int, typer.Option("--sample", min=0, help="Fold the ledgers of so many runs, the newest first.")] = 1_000,
    json: output.Json = False,
) -> None:
    """Look for damage: schema, file, ledgers that do not give their run. 1 if something was found."""
    from mainspring.store.inspection import integrity
    from mainspring.store.migrate import pending

    with connected(context, current=False) as client:
        findings = [f"schema: {step.version:04d} {step.name} is missing" for step in pending(client.database)]
        folded = 0
        if not findings:
            findings += [f"file: {finding}" for finding in integrity(client.database)]
            with _counting("ledgers folded") as tell:
                folded, broken = _fold_sample(client, sample, tell)
            findings += broken
    if json:
        output.show_json({"ledgers_folded": folded, "findings": findings})
    else:
        for finding in findings:
            print(finding)
        output.tell(f"{len(findings)} findings; {folded} ledgers folded")
    if findings:
        raise typer.Exit(1)


@app.command("prune")
def prune(
    context: typer.Context,
    older_than: Annotated[str, typer.Option("--older-than", help="Runs that ended longer ago than this, such as 30d.")],
    state: Annotated[list[str] | None, typer.Option("--state", "-s", help="Only runs that ended so; may be repeated.")] = None,
    yes: output.Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how many, and change nothing.")] = False,
) -> None:
    """Forget ended runs with everything that hangs on them. Open dead letters and open batches stay."""
    from mainspring.core.durations import parse_duration

    states = [name.strip() for given in state for name in given.split(",")] if state else None
    age = parse_duration(older_than, option="--older-than")
    with connected(context) as client:
        count = _count_prunable(client, age, _ends(states))
        if dry_run or not count:
            print(f"{count} runs to prune")
            return
        output.confirm(f"Remove {count} runs that ended more than {older_than} ago?", yes=yes)
        print(f"pruned {_prune(client, older_than, states)} runs")


# -- checking ----------------------------------------------------------------------------------------------------------


def _fold_sample(client: Client, sample: int, tell: Callable[[int], None]) -> tuple[int, list[str]]:
    """Fold the newest ``sample`` ledgers, a page a snapshot; how many, and those that do not give their row."""
    folded, broken, before = 0, list[str](), None
    while folded < sample:
        most = min(_PAGE, sample - folded)
        looked_at = client.database.read(
            "check.fold", lambda tx, before=before, most=most: _look_at(tx, client.namespace, before, most)
        )
        folded += len(looked_at)
        broken += [finding for _, finding in looked_at if finding]
        tell(folded)
        if len(looked_at) < most:
            break
        before = looked_at[-1][0]
    return folded, broken


def _look_at(tx: Transaction, namespace: str, before: str | None, most: int) -> list[tuple[str, str | None]]:
    from mainspring.operations import views

    page = views.listing(tx, namespace, before=before, most=most)
    return [(view.run.id, _difference(tx, view.run)) for view in page]


def _difference(tx: Transaction, run: Run) -> str | None:
    """What is wrong between a run's row and its ledger; None where nothing is."""
    from dataclasses import fields

    from mainspring.core.events import fold
    from mainspring.errors import BrokenInvariant

    try:
        folded = fold(_events(tx, run.id))
    except BrokenInvariant as broken:
        return f"run {run.id}: {broken.message}"
    wrong = [each.name for each in fields(run) if getattr(folded, each.name) != getattr(run, each.name)]
    told = (f"{name} is {getattr(run, name)!r} and its ledger gives {getattr(folded, name)!r}" for name in wrong)
    return f"run {run.id}: {'; '.join(told)}" if wrong else None


def _events(tx: Transaction, run_id: str) -> Iterator[Any]:
    from mainspring.operations import views

    after = 0
    while page := views.events(tx, run_id, after=after):
        yield from page
        after = page[-1].seq


# -- pruning -----------------------------------------------------------------------------------------------------------


def _ends(states: list[str] | None) -> list[str]:
    """The states to prune, checked as ``prune`` itself checks them."""
    from mainspring.core.states import TERMINAL
    from mainspring.errors import InvalidOption

    chosen = sorted(TERMINAL) if states is None else states
    if strange := sorted(set(chosen) - TERMINAL):
        raise InvalidOption(f"{strange[0]!r} is no end of a run; there are {', '.join(sorted(TERMINAL))}", option="--state")
    return [str(state) for state in chosen]


def _count_prunable(client: Client, age: int, states: list[str]) -> int:
    """How many runs there are to prune, counted a page a snapshot."""
    count, after = 0, None
    with _counting("runs found") as tell:
        while True:
            found = client.database.read("retention.prunable", lambda tx, after=after: _prunable(tx, client, age, states, after))
            count += len(found)
            tell(count)
            if len(found) < _PRUNE_PAGE:
                return count
            after = found[-1]


def _prunable(tx: Transaction, client: Client, age: int, states: list[str], after: str | None) -> list[str]:
    from mainspring.core.states import State
    from mainspring.operations import retention

    ends = [State(state) for state in states]
    return retention.prunable(tx, client.namespace, cut_off=tx.now - age, states=ends, after=after, most=_PRUNE_PAGE)


def _prune(client: Client, older_than: str, states: list[str] | None) -> int:
    pruned, cursor = 0, None
    with _counting("runs pruned") as tell:
        while True:
            page = client.runs.prune(older_than=older_than, states=states, limit=_PRUNE_PAGE, cursor=cursor)
            pruned += page.runs
            tell(pruned)
            if page.cursor is None:
                return pruned
            cursor = page.cursor


@contextmanager
def _counting(what: str) -> Iterator[Callable[[int], None]]:
    """A growing number on a terminal; silence elsewhere."""
    import sys

    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(f"0 {what}") as line:
        yield lambda count: line.update(f"{count} {what}")
