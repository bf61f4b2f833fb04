"""The numbered cases of the specification, in our words, and the page that says which test holds which.

Here: the titles, and ``docs/internals/cases.md`` made from them and from the ``case`` marks in the tests. Run it with
``python -m tests.support.cases``; a tidy test fails while the page is behind. Not here: the tests.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "internals" / "cases.md"

JOBS: Mapping[int, str] = {
    1: "A run enqueued in a transaction that rolls back never existed; in one that commits it is found by the poll",
    2: "An enqueue whose commit is unknown and is tried again gives one run",
    3: "A second SQLite library on our file in one process is refused",
    4: "Two concurrent enqueues with one key create one run, also when the first commits late",
    5: "A key with another payload is refused naming the owner; omitted defaults make no other payload",
    6: "A key whose owner failed is free at once; one whose owner was pruned answers until its time is over",
    7: "A key's retention is the one captured at creation",
    8: "Resetting the key of an active run is refused",
    9: "A debounced call that loses to the claim is executed afterwards, once, with the latest payload",
    10: "A steady stream of debounced calls still runs within its longest wait",
    11: "A singleton run that is retrying or released still excludes a second one",
    12: "An invalid payload is refused before anything is written; one bad item of many refuses all and is named",
    13: "A waiting run with an old schema is upcast or parked, and fails no budget for a deploy",
    14: "A worker with older code leaves runs of a newer task version to others",
    15: "A run due in a month is in no worker's memory and is not handed out twice",
    16: "A due run whose hint was lost starts within one poll",
    17: "A limit of 1 never has two fenced holders, whatever dies, pauses or finishes late",
    18: "A late finish returns no slot of the attempt that replaced it; returning twice frees one",
    19: "A slot of a dead worker is free after its lease, without a person",
    20: "Lowering a limit below its use kills nothing; raising it starts waiting work at once",
    21: "A deploy neither unpauses a queue nor resets a limit that an operator changed",
    22: "A total limit above per-key limits holds for both, and taking several never deadlocks",
    23: "A full key with many waiting runs delays another key by one round only",
    24: "A lane that slept gets no credit over those that worked",
    25: "Ageing makes no low priority a high one, and low priority still starts within its bound",
    26: "A run that needs four slots is not passed for ever by runs that need one",
    27: "A rate limit holds across workers and restarts; a refused run comes back at its exact instant",
    28: "Being rate-limited slows everybody who shares the limit and spends no attempt",
    29: "A released run spends no failure, keeps no slot, and its deadline goes on",
    30: "A rolling deploy spends no failure; runs it never started spend nothing at all",
    31: "A run that kills its process is isolated, ends after its budget, and takes no bystander with it",
    32: "A worker paused beyond its lease reports nothing, and its next write says that the lease is lost",
    33: "A database outage longer than a lease is no interruption of every running attempt",
    34: "The cap of a back-off holds after jitter and for the thousandth retry",
    35: "The retry delay counts from the end of the attempt, and none starts early when clocks differ",
    36: "An error marked never-retry is not retried when it is a subclass of one marked retry",
    37: "A run that expired is not started by the claim that raced with its expiry",
    38: "A deadline fires for a run no worker ever saw",
    39: "The next attempt sees the last saved checkpoint, never one of an attempt that lost its lease",
    40: "A timed-out thread neither exceeds the worker's concurrency nor stops it in silence",
    41: "A cancel that arrives as the run succeeds gives one answer; a cancelled run is never revived",
    42: "A cancel of a run whose worker is dead ends without that worker",
    43: "A dependency that ends while the dependant is created is counted once",
    44: "The callback of a batch starts exactly once, also when the last two end at once, also for an empty batch",
    45: "A member that is retried does not trigger the failure callback before its budget is spent",
    46: "A stale or forged delivery executes nothing; a lost one is replaced",
    47: "A reservation that expired as its worker claimed becomes a slot or leaves the run queued, never both",
    48: "A transport that is down fails no enqueue and no run",
    49: "Maintenance called by many at once does each thing once, and one failing stage stops no other",
    50: "Running now on a key that has an owner executes nothing, and never another caller's run",
    51: "A retried dead letter is one new run, also when two press the button",
    52: "Pruning deletes nothing live, awaited or open, and a cursor never skips equal timestamps",
    53: "Every waiting run has an explanation that names a true hold, and its removal starts the run",
    54: "An exception whose text holds a secret or a megabyte is stored redacted and bounded",
    55: "One undecodable outcome in a flush of 100 loses none of the others",
}
SCHEDULES: Mapping[int, str] = {
    1: "A fixed time in a spring gap fires once, at the transition, later by the gap, or not at all, as its policy says",
    2: "A fixed time that comes twice in autumn fires at the first, the second or both, as its policy says",
    3: "A wildcard hour fires at every real hour of the autumn change; a fixed list of all hours leaves the repeated one out",
    4: "A wildcard minute within a spring gap does not fire there, and fires on both sides of it",
    5: "Every real quarter of a repeated hour is due once",
    6: "A fixed time is not an hour late on the days after a clock change",
    7: "A midnight that does not exist fires at the transition",
    8: "An hour that comes twice about midnight fires once",
    9: "A gap of half an hour moves a fixed time by its policy",
    10: "A repeated half hour fires once, or at the second, by its policy",
    11: "An hourly rule follows a change of half an hour at every real hour",
    12: "An hourly rule fires on the hour of its zone, whatever the offset",
    13: "Two written times that fall on one instant are one occurrence",
    14: "With both, repeated times come in the order of time",
    15: "A zone that changes its offset for good repeats no fixed entry",
    16: "A day that a zone left out follows the policy",
    17: "A recurrence rule with a count passes over the gap and keeps its count",
    18: "An interval keeps its instants across a clock change, and a wall-clock rule moves",
    19: "New zone data moves a planned instant, and no older node moves it back",
    20: "Day of month and day of week are either, or both where one begins with a star",
    21: "Weekday numbers mean what their dialect says",
    22: "Fifth weekdays, nearest workdays and last workdays fall where the calendar has them",
    23: "A hashed time stays after restart, restore and re-creation, and two names spread",
    24: "A rule that is never due is refused, and no stored rule holds the planner up",
    25: "A zone in an expression, an empty zone and a local one are refused with a sentence",
    26: "Zone, start and end bound every kind of rule, and an interval stays on its grid",
    27: "A new interval does not fire at creation, and restarts do not keep it from firing",
    28: "An instant in the past is refused aloud, and a spent schedule is ended",
    29: "On-time work runs under skip although it is seen a little later",
    30: "Three hours of missed minutes fire the newest, as one run that covers them",
    31: "A year of missed seconds keeps the newest hundred and a bounded number of rows",
    32: "An interval shorter than the poll loses nothing",
    33: "What a blackout deferred ends as one late batch under the misfire policy",
    34: "A backlog delays no other schedule and not its own live occurrences",
    35: "A machine that slept settles the gap on waking",
    36: "A crash at any statement leaves occurrence, run and cursor together",
    37: "Two leaders fire nothing twice",
    38: "A clock set back fires nothing again, and one set ahead silences nothing",
    39: "Forbid runs what it caught up oldest first, and drops none",
    40: "Replace cancels the active run and starts the newest once that has ended",
    41: "Behind a running one each buffer keeps whom it promises, and the ledger says so",
    42: "A retry to come neither makes a fresh occurrence skipped nor is skipped by one",
    43: "After the crash of a worker its slot is neither doubled nor kept",
    44: "A schedule whose first thousand runs are blocked delays no other",
    45: "Resume settles what was due while paused and records what it does not run",
    46: "A pause made while a run executes holds after it, and no finish rewrites an edit",
    47: "Enabling starts nothing of the past and does not lift a pause",
    48: "An edit settles earlier instants by the old rule and later ones by the new",
    49: "A manual run leaves cursor, next fire and the count of runs alone",
    50: "Deleting a schedule keeps what its running occurrence comes to",
    51: "A backfill runs only what is missing and says why of the rest",
    52: "Setting one policy field leaves the others alone, and null clears a bound",
    53: "A timed-out attempt is a failure, also when its code returns after the deadline",
    54: "A restart within an attempt spends no failure and loses nothing",
    55: "A result after the lease was taken over changes nothing, and a failure keeps its output",
    56: "A grandchild that holds the pipe does not prolong an attempt, and the whole group is gone after it",
    57: "Endless output costs bounded memory and keeps head, tail and the count between",
    58: "A JSON body has its content type, the answer is read to its end, and no redirect turns a POST into a GET",
    59: "A name that turns private, or redirects there, is never connected to in private",
    60: "Metadata and private addresses are refused in every disguise, at writing and at the attempt",
    61: "Every attempt of an occurrence carries one idempotency key, and a replay another",
    62: "Pages over equal times lose nothing, and an empty list is a list",
    63: "A duplicate name, an unknown schedule and a server that is not ready answer alike everywhere",
    64: "After a restored backup nothing fires until a person decides",
    65: "A lost cursor is found, its instants are settled, and somebody is told",
    66: "Applying the same files twice changes nothing and lifts no pause",
    67: "Every namespace is planned, and a rule that no longer parses is seen as broken",
}
PAGES: Mapping[str, Mapping[int, str]] = {"jobs": JOBS, "schedules": SCHEDULES}


def marked() -> dict[tuple[str, int], list[str]]:
    """The tests that carry each case, as ``file::test``, in order."""
    found: dict[tuple[str, int], list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for case, test in _marks(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(case, []).append(f"{path.relative_to(ROOT).as_posix()}::{test}")
    return found


def _marks(tree: ast.Module) -> Iterator[tuple[tuple[str, int], str]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                match decorator:
                    case ast.Call(
                        func=ast.Attribute(attr="case"), args=[ast.Constant(value=str(page)), ast.Constant(value=int(number))]
                    ):
                        yield (page, number), node.name


def page() -> str:
    """The text of ``docs/internals/cases.md``."""
    held = marked()
    lines = [
        "# Cases and the tests that hold them",
        "",
        "Made by `python -m tests.support.cases`; do not edit. Each case is a promise in one sentence; *later* means",
        "that what it speaks of is not built yet.",
    ]
    for name, cases in PAGES.items():
        covered = sum((name, number) in held for number in cases)
        lines += ["", f"## {name.capitalize()}: {covered} of {len(cases)}", "", "| case | promise | tests |", "|---|---|---|"]
        for number, title in cases.items():
            tests = "<br>".join(f"`{test}`" for test in held.get((name, number), [])) or "*later*"
            lines.append(f"| {number} | {title} | {tests} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Write the page."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
