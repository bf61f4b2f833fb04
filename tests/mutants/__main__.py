"""``make mutants``: plant each bug of the catalogue in a copy of the package, and see the simulator catch it.

Here: planting, and the table of how many seeds each took. Not here: the bugs (``catalogue``), and what catches them (the
simulator's oracles).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

import mainspring
from tests.mutants.catalogue import MUTANTS, Mutant

SEEDS = 3_000
CAUGHT = Path(__file__).parent / "caught.json"
_PACKAGE = Path(mainspring.__file__).parent
_FAILED = re.compile(r"FAILED seed (\d+):.*\n  VIOLATION (\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    """How one mutant fared: the seed that caught it, and by which oracle; None: it survived."""

    mutant: Mutant
    seed: int | None
    oracle: str
    seconds: float


def plant(mutant: Mutant, folder: Path) -> None:
    """A copy of the package with the bug in it, as ``folder/mainspring``."""
    shutil.copytree(_PACKAGE, folder / "mainspring", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "mainspring" / mutant.file
    text = path.read_text()
    found = text.count(mutant.old)
    if found != mutant.times:
        raise LookupError(f"{mutant.name}: the line to replace is {found} times in {mutant.file}; the code has moved on")
    path.write_text(text.replace(mutant.old, mutant.new))


def catch(mutant: Mutant, *, start: int = 0, seeds: int) -> Catch:
    """Let the simulator look for the bug."""
    began_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mainspring-mutant-") as name:
        plant(mutant, Path(name))
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "mainspring.testing.simulator",
                "--start",
                str(start),
                "--seeds",
                str(seeds),
                "--jobs",
                "1",
                "--first",
            ],
            env=os.environ | {"PYTHONPATH": name},
            capture_output=True,
            text=True,
            check=False,
        )
    seconds = time.monotonic() - began_at
    if (failed := _FAILED.search(done.stdout)) is not None:
        return Catch(mutant=mutant, seed=int(failed[1]), oracle=failed[2], seconds=seconds)
    if done.returncode != 0:  # it broke so badly that the simulator itself stopped
        return Catch(
            mutant=mutant,
            seed=start,
            oracle=(done.stderr.strip().splitlines() or ["ended without a word"])[-1][:60],
            seconds=seconds,
        )
    return Catch(mutant=mutant, seed=None, oracle="", seconds=seconds)


def read_caught() -> dict[str, int]:
    """The seed that caught each bug when somebody looked last."""
    return msgspec.json.decode(CAUGHT.read_bytes(), type=dict[str, int]) if CAUGHT.exists() else {}


def write_caught(catches: Sequence[Catch]) -> None:
    """Keep which seed caught what, for the suite to look at those first."""
    known = read_caught() | {each.mutant.name: each.seed for each in catches if each.seed is not None}
    there = {mutant.name: known[mutant.name] for mutant in MUTANTS if mutant.name in known}
    CAUGHT.write_bytes(msgspec.json.format(msgspec.json.encode(there), indent=1) + b"\n")


def main() -> int:
    """Catch them all; 1 if one survived."""
    asked = _arguments()
    chosen = [mutant for mutant in MUTANTS if not asked.names or mutant.name in asked.names]
    with ThreadPoolExecutor(asked.jobs) as threads:
        catches = []
        for each in threads.map(lambda mutant: catch(mutant, seeds=asked.seeds), chosen):
            catches.append(each)
            print(line(each), flush=True)
    survivors = [each.mutant.name for each in catches if each.seed is None]
    taken = [each.seed + 1 for each in catches if each.seed is not None]
    write_caught(catches)
    print(
        f"{len(taken)} of {len(catches)} planted bugs caught; seeds to catch: median {statistics.median(taken or [0]):.0f}, "
        f"most {max(taken, default=0)}; survivors: {', '.join(survivors) or 'none'}"
    )
    return int(bool(survivors))


def line(caught: Catch) -> str:
    """One row of the table."""
    seeds = f"{caught.seed + 1:5d} seeds" if caught.seed is not None else "   SURVIVED"
    return f"{caught.mutant.name:32s} {seeds}  {caught.seconds:5.1f} s  {caught.oracle}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these (all)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how long to look for each ({SEEDS})")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time (all processors)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
