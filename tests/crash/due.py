"""Schedules in a crash trial: whoever lives plans them, and every instant that was due has one fate, whoever died.

Here: putting them, ending them, and what must be true of them then. Not here: who is killed when (``trial``).
"""

from __future__ import annotations

from collections.abc import Iterator

from mainspring import App, every
from mainspring.core.durations import SECOND
from mainspring.testing.invariants import Violation, snapshot
from tests.crash.jobs import DUE

_CATCH_UP = {"policy": "catch_up", "max": 1000}


def put(app: App, count: int) -> None:
    """So many schedules, each due every second; whatever is late is caught up with."""
    for n in range(count):
        payload = {"nonce": f"due.{n}", "n": n}
        app.client.schedules.put(f"due-{n}", every("1s"), DUE, payload=payload, overlap="allow", misfire=_CATCH_UP)


def end(app: App, count: int) -> None:
    """Nothing more is due: what was is settled, and what they made can end."""
    for n in range(count):
        app.client.schedules.put(f"due-{n}", every("1s"), DUE, payload={"nonce": f"due.{n}", "n": n}, enabled=False)


def violations(app: App) -> Iterator[Violation]:
    """Every second from the first to the end has one row, each that fired has its one run, and the counter agrees."""
    with snapshot(app.client.database) as select:
        cursors = {str(row[0]): row[1:] for row in select("SELECT schedule_id, cursor_at, fired FROM schedule_cursors")}
        for schedule_id, created_at in select("SELECT id, created_at FROM schedules ORDER BY id"):
            schedule = str(schedule_id)
            cursor_at, fired = cursors[schedule]
            found = list(
                select(
                    "SELECT o.nominal_at, o.disposition, r.id FROM occurrences o LEFT JOIN runs r ON r.id = o.run_id"
                    f" WHERE o.schedule_id = '{schedule}' ORDER BY o.nominal_at"
                )
            )
            expected = list(range(created_at + SECOND, cursor_at + 1, SECOND))
            if (instants := [row[0] for row in found]) != expected:
                odd = sorted(set(instants) ^ set(expected))
                yield Violation("every_instant_has_one_fate", schedule, f"{len(instants)} of {len(expected)}: {odd[:5]}")
            if wrong := [row[0] for row in found if row[1] != "fired" or row[2] is None]:
                yield Violation("what_was_due_was_fired", schedule, f"{wrong[:5]}")
            if fired != len(found):
                yield Violation("fires_are_counted_once", schedule, f"{fired} counted, {len(found)} in the ledger")
        runs, rows = (
            next(iter(select(text)))[0]
            for text in (
                "SELECT count(*) FROM runs r JOIN lanes l ON l.id = r.lane_id WHERE l.task = 'due'",
                "SELECT count(*) FROM occurrences",
            )
        )
        if runs != rows:
            yield Violation("an_occurrence_is_one_run", "all", f"{runs} runs of {rows} occurrences")
