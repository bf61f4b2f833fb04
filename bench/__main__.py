"""`python -m bench [--quick] [--only NAME] [--page]`: the tables of speeds, and the same as JSON in `bench/results/`.

Here: the command.  What is measured is in `bench/works.py`, how it is shown in `bench/results.py` and `bench/page.py`.  The file is
written anew after each value, so a run that is broken off leaves what it has.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from pathlib import Path
from typing import Any

from bench import machine, page, peers, results, works
from mainspring.testing.postgres import postgres_server


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What we do beside what bare SQL and others do.")
    parser.add_argument("--quick", action="store_true", help="fewer runs, three rounds instead of five")
    parser.add_argument("--rounds", type=int, help="so many rounds")
    parser.add_argument("--only", metavar="NAME", help=f"one work ({', '.join(work.name for work in works.WORKS)}), "
                        "one database (postgres, sqlite), or both as postgres.drain")  # fmt: skip
    parser.add_argument("--no-peers", action="store_true", help="measure bare SQL and us only")
    parser.add_argument("--no-save", action="store_true", help="print the tables, write no file")
    parser.add_argument("--into", type=Path, metavar="FILE", help="a results file: its other lines stay, these are put beside them")
    parser.add_argument("--page", action="store_true", help="measure nothing: write docs/speed.md from the newest results")
    given = parser.parse_args()
    if not works.chosen(given.only):
        parser.error(f"--only {given.only}: no such work; see --help")
    return given


def about(given: argparse.Namespace, rounds: int) -> dict[str, Any]:
    """Everything that a reader needs beside the values."""
    told = [
        {"name": peer.name, "version": peer.version, "missing": peer.missing, "keeps": peer.keeps, "loses": peer.loses}
        for peer in peers.PEERS
    ]
    return {"commit": machine.commit(), "machine": machine.describe(), "quick": given.quick, "rounds": rounds, "peers": told,
            "redis": machine.redis_settings(), "measured": {}}  # fmt: skip


def measure(given: argparse.Namespace) -> None:
    """Measure, show and keep."""
    rounds = given.rounds or (3 if given.quick else 5)
    found = about(given, rounds)
    path = given.into or results.new_path(found["commit"])
    if given.into and path.exists():
        found = {**found, **results.load(path)}
    for peer in peers.PEERS if not given.no_peers else ():
        if peer.missing:
            print(f"{peer.name} is not measured: {peer.missing}")
    lines = works.chosen(given.only)
    with contextlib.ExitStack() as stack:
        server = None
        if any(database == "postgres" for database, _ in lines):
            server = stack.enter_context(postgres_server())
            found["postgres"] = machine.server_settings(server)
        for database, work in lines:

            def keep(values: dict[str, Any], line: str = f"{database}.{work.name}") -> None:
                found["measured"][line] = values
                if not given.no_save:
                    results.save(path, found)

            works.measured(database, work, server, quick=given.quick, rounds=rounds, with_peers=not given.no_peers, keep=keep)
    show(found)
    if not given.no_save:
        print(f"\nwritten to {path}")


def show(found: dict[str, Any]) -> None:
    """Print the tables."""
    for database in works.DATABASES:
        if len(results.contenders(found, database)):
            print(f"\n{results.NAMES[database]}\n\n{results.table(found, database)}")
    print(f"\n{results.bars(found)}\n\n{results.keeping(found)}\n\nmedians of {found['rounds']} (least–most); "
          f"commit {found['commit']}; {results.place(found)}")  # fmt: skip


def main() -> None:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # in order: what was started is ended
    if given.page:
        page.write(results.newest())
        print(f"written: {page.PAGE} and {page.PICTURE.name}, from {results.newest().name}")
    else:
        measure(given)


if __name__ == "__main__":
    main()
