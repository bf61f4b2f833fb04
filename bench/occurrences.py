"""`python -m bench.occurrences`: how long the next occurrence of a cron expression takes, beside other implementations.

Here: the corpus, our times and theirs.  Peers are installed by `python -m bench.occurrences install` into a folder of their own
below `.bench/` and imported in a process of their own.  Not here: whether the answers are right; `tests/oracle` says that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
import tracemalloc
import venv
from collections.abc import Callable
from functools import partial
from pathlib import Path

HOME = Path(__file__).resolve().parents[1] / ".bench" / "occurrences"
PYTHON = HOME / "bin" / "python"
PEERS = ("cronsim", "croniter")
CORPUS = ("* * * * *", "*/5 * * * *", "0 * * * *", "30 2 * * *", "0 9 * * 1-5", "0 0 1 * *", "15,45 8-18 * * MON-FRI", "0 0 13 * 5",
          "0 0 L * *", "0 12 1,15 */2 *", "0 0 31 12 *")  # fmt: skip
ONLY_OURS = ("0 12 15W * *", "0 0 * * 5#3", "0 0 L-3 * *", "H H * * *")
RAREST = "0 0 29 2 *"
IMPOSSIBLE = ("0 0 30 2 *", "0 0 31 2,4,6,9,11 1#5", ",".join(["0-59/7"] * 60) + " * * * *")
ZONES = ("UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca")
BEGIN = 1_767_225_600  # 2026-01-01T00:00Z
SECOND = 1_000_000


def each(step: Callable[[], object], times: int, rounds: int = 5) -> float:
    """Microseconds of processor time of one step, which never waits: the median of some rounds."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(times):
            step()
        found.append((time.process_time() - began) / times * 1e6)
    return statistics.median(found)


def walker(expression: str, zone_name: str) -> Callable[[], None]:
    """A step that goes to the next occurrence, as a planner's cursor does."""
    from mainspring.core.rules import CronRule
    from mainspring.core.timetable import Surroundings, timetable
    from mainspring.zones import zone

    table = timetable(CronRule(cron=expression, timezone=zone_name), Surroundings(zones=zone, created_at=0))
    at: int | None = BEGIN * SECOND

    def step() -> None:
        nonlocal at
        at = table.after(at) if at is not None else None
        at = BEGIN * SECOND if at is None else at

    return step


def ours() -> dict[str, dict[str, float]]:
    return {zone: {text: each(walker(text, zone), 400) for text in (*CORPUS, *ONLY_OURS)} for zone in ZONES}


def worst() -> list[tuple[str, float, float, float]]:
    """What is rarest and what is never due: reading with tables, one search, and the peak of memory, in a zone with changes."""
    found = []
    for text in (RAREST, *IMPOSSIBLE):
        reading = each(partial(walker, text, "America/New_York"), 5)
        searching = each(walker(text, "America/New_York"), 5)
        tracemalloc.start()
        walker(text, "America/New_York")()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        found.append((text, reading, searching, peak / 1e6))
    return found


def theirs(name: str) -> None:
    """Run in the peers' own environment: the same corpus, printed as JSON."""
    import importlib
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    module = importlib.import_module(name)
    found: dict[str, dict[str, float]] = {}
    for zone in ZONES:
        start = datetime.fromtimestamp(BEGIN, UTC).astimezone(ZoneInfo(zone))
        found[zone] = {}
        for text in CORPUS:
            walk = module.CronSim(text, start) if name == "cronsim" else module.croniter(text, start, ret_type=datetime)
            found[zone][text] = each(partial(next, walk), 50)
    print(json.dumps(found))


def measured(name: str) -> dict[str, dict[str, float]] | None:
    """The times of a peer; None if it is not installed."""
    if not PYTHON.exists():
        return None
    told = subprocess.run([PYTHON, __file__, "theirs", name], capture_output=True, text=True, check=False)
    return json.loads(told.stdout) if told.returncode == 0 else None


def install() -> None:
    venv.create(HOME, with_pip=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "-q", *PEERS, "tzdata"], check=True)


def show() -> None:
    columns = {"ours": ours(), **{name: found for name in PEERS if (found := measured(name))}}
    print("next occurrence, µs: mean over the corpus\n")
    print(f"{'zone':22}" + "".join(f"{name:>12}" for name in columns))
    for zone in ZONES:
        means = (statistics.mean(found[zone][text] for text in CORPUS) for found in columns.values())
        print(f"{zone:22}" + "".join(f"{mean:12.1f}" for mean in means))
    everything = [value for times in columns["ours"].values() for value in times.values()]
    print(
        f"\nours over all expressions and zones: mean {statistics.mean(everything):.1f} µs, largest mean {max(everything):.1f} µs"
    )
    print(f"\n{'rare or never due':34}{'read, µs':>10}{'next, µs':>10}{'peak, MB':>10}")
    for text, reading, searching, peak in worst():
        print(f"{text[:32]:34}{reading:10.0f}{searching:10.0f}{peak:10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.occurrences", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("show", "install", "theirs"), default="show")
    parser.add_argument("name", nargs="?", choices=PEERS)
    given = parser.parse_args()
    match given.what:
        case "install":
            install()
        case "theirs":
            theirs(given.name)
        case _:
            show()


if __name__ == "__main__":
    main()
