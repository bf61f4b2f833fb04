"""``python -m tests.budgets [--write]``: what the hot path costs now, beside its budget; ``--write`` makes it the budget."""

from __future__ import annotations

import argparse
import sys

from tests.budgets.bills import (
    FILE,
    HOW_TO,
    UNITS,
    Bill,
    Bills,
    complaints,
    counted_on_postgres,
    counted_on_sqlite,
    load,
    save,
    server,
)
from tests.budgets.scenes import SCENES


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.budgets", description=__doc__)
    options.add_argument("--write", action="store_true", help=f"make what is counted the budget ({FILE.name})")
    options.add_argument("--statements", action="store_true", help="print each statement too")
    given = options.parse_args()
    with server() as url:
        found = {"sqlite": counted_on_sqlite(), "postgres": counted_on_postgres(url)}
    budgets = load() if FILE.exists() else {}
    for kind, bills in found.items():
        _print(kind, bills, budgets.get(kind), statements=given.statements)
    if given.write:
        save(found)
        print(f"written to {FILE}")
        return 0
    wrong = [
        f"{kind}: {each}"
        for kind, bills in found.items()
        for scene, bill in bills.scenes.items()
        if kind in budgets and scene in budgets[kind].scenes
        for each in complaints(scene, UNITS[kind], budgets[kind].scenes[scene], bill)
    ]
    print("\n".join([*wrong, HOW_TO] if wrong else ["all within the budget"]))
    return int(bool(wrong))


def _print(kind: str, bills: Bills, budget: Bills | None, *, statements: bool) -> None:
    unit = UNITS[kind]
    print(f"{kind} {bills.version}")
    print(f"  {'':40}{'statements':>12}{'waits':>8}{unit:>12}{'a run':>9}{'budget':>12}")
    for scene, bill in bills.scenes.items():
        per, runs, _ = SCENES[scene]
        each = f"{bill.amount / runs:9,.0f}" if runs else " " * 9
        before = budget.scenes.get(scene) if budget else None
        print(f"  {scene + ', ' + per:40}{bill.times:12,.2f}{bill.waits:8,.2f}{bill.amount:12,.0f}{each}{_of(before):>12}")
        for name, line in bill.lines.items() if statements else ():
            print(f"    {name:38}{line.times:12,.2f}{'':8}{line.amount:12,.0f}")


def _of(bill: Bill | None) -> str:
    return "-" if bill is None else f"{bill.amount:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
