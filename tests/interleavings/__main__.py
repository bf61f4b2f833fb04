"""``python -m tests.interleavings --orders 100``: every pair of operations that write, in so many orders, on every profile.

Short transactions have fewer orders than that, and then it is all of them. ``--orders all`` is for single pairs: two long ones have
millions. Here: the command line and the report.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

from mainspring.testing.postgres import fresh_database
from tests.interleavings.catalogue import OPERATIONS, Operation, pairs
from tests.interleavings.verdict import PROFILES, Arena, Tally
from tests.support.services import postgres

_BY_NAME = {operation.name: operation for operation in OPERATIONS}


def main() -> int:
    """Run what is asked for; 1 if anything is wrong."""
    asked = _arguments()
    tally = Tally()
    began = time.monotonic()
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database(stack.enter_context(postgres())))
        arena = stack.enter_context(closing(Arena(url, tally)))
        if asked.order is not None:
            _replay(arena, asked)
        else:
            _campaign(arena, asked)
    _report(tally, time.monotonic() - began)
    return int(bool(tally.wrong))


def _campaign(arena: Arena, asked: argparse.Namespace) -> None:
    plan = {profile.name: asked.orders for profile in PROFILES if asked.profile in {None, profile.name}}
    for first, second in _pairs(asked):
        before = len(arena.tally.wrong)
        arena.meet(first, second, plan, seed=asked.seed)
        for wrong in arena.tally.wrong[before : before + asked.shown]:
            print(wrong, flush=True)


def _replay(arena: Arena, asked: argparse.Namespace) -> None:
    profile = next(each for each in PROFILES if each.name == (asked.profile or "stock"))
    first, second = (_BY_NAME[name] for name in asked.pair)
    print("\n".join(arena.replay(first, second, profile, asked.order)))
    print("\n".join(arena.tally.wrong))


def _pairs(asked: argparse.Namespace) -> Iterator[tuple[Operation, Operation]]:
    if asked.pair:
        yield _BY_NAME[asked.pair[0]], _BY_NAME[asked.pair[1]]
        return
    for first, second in pairs():
        if asked.of in {None, first.name, second.name}:
            yield first, second


def _report(tally: Tally, seconds: float) -> None:
    for name in tally.orders:
        print(
            f"{name}: {tally.pairs[name]:,} pairs, {tally.complete[name]:,} of them in all orders; {tally.orders[name]:,} orders,"
            f" {tally.conflicts[name]:,} with a transaction run again"
        )
    for title, counted in (("ended as a deadlock", tally.deadlocks), ("third results that are right", tally.allowed)):
        print(f"{title}: {sum(counted.values()):,}")
        print("".join(f"  {count:6,}  {name}\n" for name, count in counted.most_common()), end="")
    print(f"wrong: {len(tally.wrong):,}   ({seconds:.1f} s)")


def _arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="python -m tests.interleavings", description=str(__doc__).partition("\n")[0])
    options.add_argument("--orders", default="100", help="of each pair on each profile beside the serial ones; or 'all'")
    options.add_argument("--seed", type=int, default=0, help="of the sample where there are more orders than that")
    options.add_argument("--profile", choices=[profile.name for profile in PROFILES], help="only this one")
    options.add_argument("--of", choices=list(_BY_NAME), metavar="OPERATION", help="only pairs of this one")
    options.add_argument("--pair", nargs=2, choices=list(_BY_NAME), metavar="OPERATION", help="only this pair")
    options.add_argument("--order", type=_order, help="only this order of the pair, as a failure names it, step by step")
    options.add_argument("--shown", type=int, default=1, help="how many wrong orders of a pair to print")
    asked = options.parse_args()
    asked.orders = None if asked.orders == "all" else int(asked.orders)
    if asked.order is not None and asked.pair is None:
        options.error("--order needs --pair")
    return asked


def _order(text: str) -> tuple[int, ...]:
    return tuple(int(choice) for choice in text.split(",") if choice)


if __name__ == "__main__":
    sys.exit(main())
