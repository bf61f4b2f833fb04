"""The demo from beginning to end: list a tree, enqueue a run a file, kill a worker half way, compare with a plain walk.

    python -m examples.index_tree [DIR] [--db sqlite|postgres|URL] [--workers 2] [--no-kill]

Exit codes: 0 equal to the plain walk, 1 not so (or nothing was interrupted although it should), 2 bad usage.
"""

import argparse
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from examples.index_tree import facts as facts_of
from examples.index_tree.facts import FileFacts
from examples.index_tree.fleet import CONCURRENCY, Fleet, running
from examples.index_tree.report import Story, Tally, Teller, table, telling
from examples.index_tree.tasks import Summary, app, index_file, summarise
from examples.index_tree.tree import Listing, Tree, as_name, list_files
from mainspring import BatchHandle, MainspringError, State, batch
from mainspring.core.states import TERMINAL
from mainspring.operations.views import RunView
from mainspring.testing.postgres import postgres_server

MOST_MEMBERS = 10_000
_FEW_FILES = 2_000
_LEAST_SECONDS = 3.0
_SILENCE_SECONDS = 120.0
_MARK = ".gitignore"


class Given(NamedTuple):
    """The command line, understood."""

    tree: Tree
    db: str
    workers: int
    kill: bool
    home: Path


def main() -> int:
    """Run the demo; the exit code."""
    console = Console(highlight=False)
    given = _arguments()
    try:
        with _database(given) as url:
            os.environ["MAINSPRING_DATABASE"] = url
            return _demonstrate(given, url, console)
    except MainspringError as error:
        console.print(f"{error.code}: {error.message}", markup=False, soft_wrap=True)
        return 1
    finally:
        app.close()


def _demonstrate(given: Given, url: str, console: Console) -> int:
    app.migrate()
    listing = list_files(given.tree)
    total = len(listing.names)
    console.print(f"indexing {total:,} files below {given.tree.root} in {_shown(url)}", markup=False, soft_wrap=True)
    before = _ended()
    began = time.perf_counter()
    pace = _pace(given, total)
    if pace:
        console.print(
            f"a small tree: each run sleeps {pace} s first, or there would be no half way to be killed at", soft_wrap=True
        )
    batches = _enqueue(given.tree, listing, pace)
    with running(url, workers=given.workers, log=given.home / "workers.log") as fleet, telling(console, total) as teller:
        killed = _watch(given, fleet, teller, batches, before=before, total=total)
    seconds = time.perf_counter() - began
    found = [FileFacts(**m.result) for b in batches if b.callback for m in app.client.members(b.callback.id)]
    story = Story(
        facts=found,
        tally=_tally(batches),
        killed=killed,
        seconds=seconds,
        left_out=listing.left_out,
        closed=listing.closed,
    )
    console.print(table(story))
    verdict = _compare(given.tree, found, batches, console) and _survived(given, story, console)
    _point_further(given, url, story.tally.interrupted, console)
    return 0 if verdict else 1


# -- enqueueing -------------------------------------------------------------------------------------------------------


def _enqueue(tree: Tree, listing: Listing, pace: float) -> list[BatchHandle[Summary]]:
    """One run a file, in batches with a summary each; a batch is all or nothing."""
    root, names = as_name(str(tree.root)), listing.names
    parts = [names[start : start + MOST_MEMBERS] for start in range(0, len(names), MOST_MEMBERS)] or [[]]
    return [batch([index_file.call(root, name, pace) for name in part], then=summarise.call()).enqueue() for part in parts]


def _pace(given: Given, total: int) -> float:
    """How long each run of a small tree sleeps, so that there is a half way."""
    if not given.kill or not 0 < total < _FEW_FILES:
        return 0.0
    return min(2.0, round(_LEAST_SECONDS * given.workers * CONCURRENCY / total, 3))


# -- watching, and killing --------------------------------------------------------------------------------------------


def _watch(
    given: Given, fleet: Fleet, teller: Teller, batches: list[BatchHandle[Summary]], *, before: int, total: int
) -> list[str]:
    """Until every summary has ended: tell how far it is, kill a worker half way, replace whoever is gone."""
    killed: list[str] = []
    wants_kill = given.kill and total > 0
    moved_at, last = time.monotonic(), -1
    while not all(_is_over(each) for each in batches):
        looked_at = time.monotonic()
        done = min(total, _ended() - before)
        teller.so_far(done)
        if wants_kill and done >= total // 2:
            wants_kill = not _kill_a_holder(fleet, killed, teller)
        for name in fleet.bury():
            teller.say(f"{name} ended by itself; {fleet.start()} takes its place (see {given.home / 'workers.log'})")
        if done != last:
            moved_at, last = looked_at, done
        elif looked_at - moved_at > _SILENCE_SECONDS:
            teller.say(f"nothing has moved for {_SILENCE_SECONDS:.0f} s; giving up")
            raise SystemExit(1)
        time.sleep(max(0.02, 5 * (time.monotonic() - looked_at)))
    teller.so_far(total)
    return killed


def _ended() -> int:
    """How many runs have ended, those of earlier demos on the same database included."""
    return sum(count for state, count in app.runs.counts().items() if state in TERMINAL)


def _is_over(each: BatchHandle[Summary]) -> bool:
    return each.callback is not None and app.runs.get(each.callback.id).run.state in TERMINAL


def _kill_a_holder(fleet: Fleet, killed: list[str], teller: Teller) -> bool:
    """Kill a worker that holds runs; True if it still held some when it was dead, so that somebody must take them over."""
    holders = _holders()
    chosen = next((name for name in fleet.living if holders.get(name)), None)
    if chosen is None:
        return False
    fleet.kill(chosen)
    killed.append(chosen)
    left = _holders().get(chosen, 0)
    teller.say(f"killed {chosen} with -9 while it held {left} runs; {fleet.start()} takes its place")
    return left > 0


def _holders() -> dict[str, int]:
    """How many runs each worker holds, by the name it was started with."""
    held: dict[str, int] = {}
    for view in app.runs.list(states=[State.RUNNING], limit=500).data:
        if view.run.worker_id and view.task == index_file.name:
            name = view.run.worker_id.partition(".")[0]
            held[name] = held.get(name, 0) + 1
    return held


# -- afterwards -------------------------------------------------------------------------------------------------------


def _tally(batches: list[BatchHandle[Summary]]) -> Tally:
    """The counters of every run of ours. A run's token counts its claims."""
    ours = {run_id for each in batches for run_id in (*each.members, *([each.callback.id] if each.callback else []))}
    views = [view.run for view in _newest(since=min(ours)) if view.run.id in ours]
    return Tally(
        runs=len(views),
        attempts=sum(run.token for run in views),
        interruptions=sum(run.interruptions for run in views),
        failures=sum(run.failures for run in views),
        interrupted=next((run.id for run in views if run.interruptions), None),
    )


def _newest(since: str) -> Iterator[RunView]:
    """Runs a page at a time, newest first (ids grow with time), down to the one named."""
    cursor: str | None = None
    while True:
        page = app.runs.list(limit=500, cursor=cursor)
        yield from page.data
        cursor = page.next_cursor
        if cursor is None or cursor <= since:
            return


def _compare(tree: Tree, found: list[FileFacts], batches: list[BatchHandle[Summary]], console: Console) -> bool:
    """Whether the runs, and the summaries made of them, say what a plain walk of the same tree says."""
    ours, plain = facts_of.indexed(found), facts_of.plain_walk(tree)
    console.print(f"runs        {facts_of.digest(ours)}\nplain walk  {facts_of.digest(plain)}", soft_wrap=True)
    wrong = facts_of.differences(ours, plain)
    for line in wrong[:10]:
        console.print(line, markup=False, soft_wrap=True)
    if wrong or facts_of.digest(ours) != facts_of.digest(plain):
        console.print(f"NOT equal to the plain walk: {len(wrong)} files differ (did the tree change meanwhile?)")
        return False
    summaries = [each.callback.result(timeout="10s") for each in batches if each.callback]
    totals = (sum(s.files for s in summaries), sum(s.size for s in summaries), sum(s.lines for s in summaries))
    if totals != (len(plain), sum(fact.size for fact in plain), sum(fact.lines for fact in plain)):
        console.print(f"NOT equal to the plain walk: the summary runs counted {totals}")
        return False
    console.print("[bold green]equal to the plain walk[/]: every name, byte, line and verdict")
    return True


def _survived(given: Given, story: Story, console: Console) -> bool:
    """Whether there was an interruption to survive, and it cost no failure."""
    if story.tally.failures:
        console.print(f"{story.tally.failures} failures were spent; there should be none")
        return False
    if given.kill and story.facts and not story.tally.interruptions:
        console.print("no run was interrupted: the tree was done before a worker could be killed in the middle of it")
        return False
    return True


def _point_further(given: Given, url: str, interrupted: str | None, console: Console) -> None:
    """Commands to paste, for as long as there is a database to look at."""
    if given.db == "postgres":
        console.print(
            "\nThe PostgreSQL server went away with this demo; give --db a URL of your own to keep the runs.", soft_wrap=True
        )
        return
    program = os.path.relpath(Path(sys.executable).with_name("mainspring"))
    lines = [f"export MAINSPRING_DATABASE={url}", f"{program} run list --limit 5", f"{program} queue list"]
    if interrupted:
        lines.append(f"{program} run events {interrupted}   # the ledger of a run that was interrupted")
    console.print("\nlook further:")
    for line in lines:
        console.print(f"  {line}", soft_wrap=True, markup=False)


# -- arguments --------------------------------------------------------------------------------------------------------


def _arguments() -> Given:
    parser = argparse.ArgumentParser(prog="python -m examples.index_tree", description="Index a folder with durable runs.")
    parser.add_argument("dir", nargs="?", metavar="DIR", help="the folder; the standard library of this Python if not given")
    parser.add_argument("--db", default="sqlite", help="sqlite, postgres (a server is started), or a URL (default: sqlite)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: 2)")
    parser.add_argument("--no-kill", dest="kill", action="store_false", help="let every worker live")
    parser.add_argument("--home", type=Path, default=Path(".demo"), help="where the demo keeps its files (default: .demo)")
    given = parser.parse_args()
    if not 1 <= given.workers <= 64:
        parser.error("--workers must be from 1 to 64")
    if given.dir is not None and not Path(given.dir).is_dir():
        parser.error(f"{given.dir} is no folder")
    try:
        home = _make_home(given.home.resolve())
    except OSError as error:
        parser.error(f"--home {given.home}: {error.strerror or error}")
    return Given(_tree(given.dir, home), given.db, given.workers, given.kill, home)


def _tree(folder: str | None, home: Path) -> Tree:
    if folder is not None:
        return Tree(root=Path(folder).resolve(), apart=home)
    library = Path(sysconfig.get_path("stdlib")).resolve()
    return Tree(root=library, skip=frozenset({"__pycache__", "site-packages", "dist-packages"}), apart=home)


def _make_home(home: Path) -> Path:
    """An empty folder that git does not see. One that this demo did not make is left alone."""
    mark = home / _MARK
    if home.exists() and any(home.iterdir()):
        if not (mark.is_file() and mark.read_text() == "*\n"):
            raise FileExistsError(17, "is not empty and was not made by this demo; name another folder")
        shutil.rmtree(home)
    home.mkdir(parents=True, exist_ok=True)
    mark.write_text("*\n")
    return home


@contextmanager
def _database(given: Given) -> Iterator[str]:
    """The URL to work with; a throwaway server where ``postgres`` was asked for."""
    with ExitStack() as stack:
        match given.db:
            case "sqlite":
                yield f"sqlite:///{given.home / 'index.db'}"
            case "postgres":
                yield stack.enter_context(postgres_server())
            case url:
                yield url


def _shown(url: str) -> str:
    """The URL without a password."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


if __name__ == "__main__":
    sys.exit(main())
