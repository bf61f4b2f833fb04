"""`docs/speed.md` and its picture, made of one results file: `python -m bench --page`.

Here: the words around the tables.  Not here: a number.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench import results
from bench.plot import Bar, svg
from bench.works import LIMIT, NO_LEDGER, US

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "speed.md"
PICTURE = PAGE.with_suffix(".svg")
DRAWN = (
    ("postgres", "drain", "Drain on PostgreSQL, one process, jobs a second"),
    ("sqlite", "drain", "Drain on SQLite, one process, jobs a second"),
    ("postgres", "enqueue_single", "Enqueue one by one on PostgreSQL, jobs a second"),
)

TEXT = """# Speed

<!-- made by `python -m bench --page` from the results file named below; change bench/page.py, not this -->

How fast a job system is says little without three things beside it: what the same machine does in the same minute without the
system, what the system keeps of a job, and what it loses when the power goes. So every table here begins with *bare SQL*: the life
of a job as hand-written statements through the same driver, claimed and finished a hundred at a time, every write fenced, every
commit on disk, once with a ledger row for every move, as we keep them, and once without.

![{label}](speed.svg)

In each round everybody is measured once, one after the other, each on an empty database, so that a disturbance of the machine falls
on all. A number is the median of all rounds ({rounds}), with the least and the most in brackets where there is more than one; the
brackets of a latency are of its first number. {quick}Jobs do nothing, so what is measured is the
system alone. The peers are set up as their own documentation has it for throughput; the scripts in
[bench/peers](../bench/peers) say how. The clocks of most begin at their first job, where ours begins before the worker
starts.{busy}

## PostgreSQL, and peers beside it

{postgres}

Peers that need Redis are given one that syncs its log every second (`appendonly yes`, `appendfsync everysec`).

## SQLite

{sqlite}

## Bars

A bar is what we set out to reach: for rates a share of bare SQL with its ledger, for latencies a number of milliseconds.

{bars}

## What each keeps, and what it may lose

{keeping}

## Where this was measured

Commit {commit}; {place}. All values are in [{file}](../bench/results/{file}).

## Measure it yourself

```sh
make bench-peers             # the peers, each into a folder of its own below .bench/
make bench                   # everything, a few minutes for each line of the tables
make bench ARGS=--quick      # fewer jobs, three rounds
make bench-growth            # does it stay as fast with a million runs, a thousand queues, a hundred thousand keys
make bench ARGS=--page       # this page from the newest results
```

Rates of two runs on two machines, or on two days, cannot be compared; their shares of bare SQL can. What must not grow whatever the
machine (statements, waits, bytes of log) is held by a test: see [proofs](internals/proofs.md#budgets).
"""


_BUSY = """

**Others used the machine meanwhile** (load {load_before} on {cores} cores): take these numbers as a sample of the form, not as
figures."""


def page(path: Path) -> str:
    """The page that a results file makes."""
    found = results.load(path)
    return TEXT.format(
        label="; ".join(title for *_, title in DRAWN),
        rounds=found["rounds"],
        quick="This was a quick run, with fewer jobs. " if found["quick"] else "",
        busy=_BUSY.format(**found["machine"]) if found["machine"]["load_before"] > found["machine"]["cores"] else "",
        postgres=results.table(found, "postgres"),
        sqlite=results.table(found, "sqlite"),
        bars=results.bars(found),
        keeping=results.keeping(found),
        commit=found["commit"],
        place=results.place(found),
        file=path.name,
    )


def picture(path: Path) -> str:
    """The picture that a results file makes."""
    found = results.load(path)
    panels = [(title, _bars(found, database, work)) for database, work, title in DRAWN if results.values(found, database, work)]
    return svg(panels)


def _bars(found: dict[str, Any], database: str, work: str) -> list[Bar]:
    kinds = {LIMIT: "limit", NO_LEDGER: "limit", US: "us"}
    measured = results.values(found, database, work)
    names = sorted(measured, key=lambda name: -results.median(measured[name]))
    return [
        Bar(name=name, kind=kinds.get(name, "bar"), low=min(of), middle=results.median(of), high=max(of))
        for name in names
        for of in [measured[name]]
    ]


def source() -> Path:
    """The results file that the page names."""
    named = re.search(r"\]\(\.\./bench/results/([\w.+-]+\.json)\)", PAGE.read_text())
    assert named, "the page names no results file"
    return results.FOLDER / named[1]


def write(path: Path) -> None:
    """Make the page and its picture anew."""
    PAGE.write_text(page(path))
    PICTURE.write_text(picture(path))
