"""`python -m bench.peers install [NAME ...]`, `list`, and `try NAME [WORK] [COUNT]`: one peer measured once.  The table is made by
`python -m bench`."""

from __future__ import annotations

import contextlib
import sys

from bench.peers import PEERS, Peer, fresh_redis, install, measure
from mainspring.testing.postgres import fresh_database, postgres_server

MANY = 20_000
FEW = {"start_latency": 200, "enqueue_single": 1_000}


def main() -> None:
    match sys.argv[1:]:
        case ["install", *names]:
            install(names)
        case ["list"]:
            for peer in PEERS:
                print(f"{peer.name:18} {peer.missing or peer.version:16} keeps: {peer.keeps}; a power cut loses: {peer.loses}")
        case ["try", name, *rest]:
            (peer,) = (peer for peer in PEERS if peer.name == name)
            for work in rest[:1] or sorted(peer.works):
                count = int(rest[1]) if len(rest) > 1 else peer.jobs(work, FEW.get(work, MANY))
                print(f"{name} {work} {count}: {tried(peer, work, count)}", flush=True)
        case _:
            sys.exit("usage: python -m bench.peers install [NAME ...] | list | try NAME [WORK] [COUNT]")


def tried(peer: Peer, work: str, count: int) -> object:
    with contextlib.ExitStack() as stack:
        match peer.database:
            case "redis":
                url = stack.enter_context(fresh_redis())
            case "postgres":
                url = stack.enter_context(fresh_database(stack.enter_context(postgres_server())))
            case _:
                import tempfile

                url = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/bench.db"
        return measure(peer, work, url, count)


if __name__ == "__main__":
    main()
