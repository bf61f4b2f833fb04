"""What was measured, as the files in `bench/results/` hold it, and as tables: medians, spreads, shares of the limit, bars.

Here: reading, writing and showing.  Not here: measuring (`bench/works.py`), and the page around the tables (`bench/page.py`).
"""

from __future__ import annotations

import datetime
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.works import DATABASES, LIMIT, NO_LEDGER, US, WORKS

FOLDER = Path(__file__).parent / "results"
FORM = 2
NAMES = {"postgres": "PostgreSQL", "sqlite": "SQLite"}

#: What was measured of one work on one database: contender to its values; a latency is a pair.
Values = dict[str, list[Any]]


def new_path(commit: str) -> Path:
    """Where a run of now is kept."""
    stamp = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%dT%H%M")
    return FOLDER / f"{stamp}-{commit.replace('+', '-changed')}.json"


def save(path: Path, results: dict[str, Any]) -> None:
    """Write a results file."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"form": FORM, **results}, indent=1) + "\n")


def load(path: Path) -> dict[str, Any]:
    """Read one."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def newest() -> Path:
    """The latest file of this form."""
    return max(path for path in FOLDER.glob("2*.json") if load(path).get("form") == FORM)


def values(results: dict[str, Any], database: str, work: str) -> Values:
    """What was measured of a work on a database."""
    found: Values = results["measured"].get(f"{database}.{work}", {})
    return found


def contenders(results: dict[str, Any], database: str) -> list[str]:
    """Who was measured on a database: the limits first, then us, then the peers by how fast they drain."""
    names = {name for work in WORKS for name in values(results, database, work.name)}
    drained = values(results, database, "drain")
    others = sorted(names - {LIMIT, NO_LEDGER, US}, key=lambda name: (-(median(drained.get(name)) or 0.0), name))
    return [*(name for name in (LIMIT, NO_LEDGER, US) if name in names), *others]


def median(found: Sequence[Any] | None) -> Any:
    """Of rates a number, of latencies a pair; None where nothing was measured."""
    if not found:
        return None
    if isinstance(found[0], list | tuple):
        return tuple(statistics.median(column) for column in zip(*found, strict=True))
    return statistics.median(found)


def number(value: Any) -> str:
    """A rate, or the two of a latency."""
    if value is None:
        return "-"
    return (
        " / ".join(f"{each:.1f}" if each < 100 else f"{each:,.0f}" for each in value)
        if isinstance(value, tuple)
        else f"{value:,.0f}"
    )


def cell(found: Sequence[Any] | None) -> str:
    """The median, and from the least to the most."""
    if not found:
        return "-"
    if len(found) == 1:
        return number(median(found))
    if isinstance(found[0], list | tuple):
        firsts = [each[0] for each in found]
        return f"{number(median(found))} ({min(firsts):.1f}–{max(firsts):.1f})"
    return f"{number(median(found))} ({number(min(found))}–{number(max(found))})"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table; the first is its head."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def table(results: dict[str, Any], database: str) -> str:
    """Who does how much of which work on a database."""
    works = [work for work in WORKS if values(results, database, work.name)]
    rows = [["", *(work.title for work in works)]]
    for name in contenders(results, database):
        shown = f"**{name}**" if name == US else name
        rows.append([shown, *(cell(values(results, database, work.name).get(name)) for work in works)])
    return markdown(rows)


def bars(results: dict[str, Any]) -> str:
    """What we set out to reach, and whether we do."""
    rows = [["database", "work", "bare SQL", "Mainspring", "share", "bar", ""]]
    for database in DATABASES:
        for work in WORKS:
            found, wanted = values(results, database, work.name), work.bar.get(database)
            whole, us = median(found.get(LIMIT)), median(found.get(US))
            if whole is None or us is None:
                continue
            is_latency = isinstance(us, tuple)
            share = "-" if is_latency else f"{us / whole:.2f}"
            aim = "-" if wanted is None else f"≤ {number(wanted)}" if is_latency else f"≥ {wanted:g}"
            rows.append([NAMES[database], work.title, number(whole), number(us), share, aim, _verdict(us, whole, wanted)])
    return markdown(rows)


def _verdict(us: Any, whole: Any, wanted: Any) -> str:
    if wanted is None:
        return ""
    if isinstance(us, tuple):
        return "met" if us[0] <= wanted[0] and us[1] <= wanted[1] else "missed"
    return "met" if us >= wanted * whole else "missed"


def keeping(results: dict[str, Any]) -> str:
    """What each leaves of a job, and what a power cut takes."""
    rows = [["", "version", "keeps of a job that ended", "a power cut loses"]]
    rows.append([f"**{US}**", results["commit"], "the run, its payload and result, and a ledger entry for every move",
                 "nothing: every commit is on disk"])  # fmt: skip
    rows += [[peer["name"], peer["version"] or peer["missing"], peer["keeps"], peer["loses"]] for peer in results["peers"]]
    return markdown(rows)


def place(results: dict[str, Any]) -> str:
    """Where it was measured."""
    known = {**results["machine"]}
    for name, settings in (("PostgreSQL", results.get("postgres", {})), ("Redis", results.get("redis", {}))):
        known |= {f"{name} {key}": value for key, value in settings.items()}
    return "; ".join(f"{key} {value}" for key, value in known.items())
