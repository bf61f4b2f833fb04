"""``python -m tests.web --cases 5000``: the campaign of ``contract.py`` at length, on both databases."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack

from mainspring import Client
from mainspring.node import Node
from mainspring.testing.postgres import fresh_database
from mainspring.web.api import ENDPOINTS
from tests.support.services import offered_postgres
from tests.web.contract import Tally, campaign, furnish, listening


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.web", description=__doc__)
    options.add_argument("--cases", type=int, default=5_000, help="how many requests, over both databases")
    options.add_argument("--seed", type=int, default=0, help="another one asks other things")
    given = options.parse_args()
    surprises = 0
    with ExitStack() as opened:
        urls = [f"sqlite:///{opened.enter_context(tempfile.TemporaryDirectory())}/api.db"]
        offer = opened.enter_context(offered_postgres())
        if offer.url is not None:
            urls.append(opened.enter_context(fresh_database(offer.url)))
        else:
            print(f"not on PostgreSQL: {offer.reason}")
        for url in urls:
            tally = _one(url, -(-given.cases // len(urls) // len(ENDPOINTS)), given.seed)
            surprises += len(tally.surprises)
            print(f"{url.partition(':')[0]}: {tally.cases} requests, {len(tally.surprises)} surprises; {dict(tally.statuses)}")
            print("\n\n".join(tally.surprises))
    return 1 if surprises else 0


def _one(url: str, cases: int, seed: int) -> Tally:
    client = Client(url)
    client.migrate()
    client.close()
    known = furnish(url)
    with Node(url) as node, listening(node) as address:
        return campaign(address, known, cases=cases, start=seed, told=print)


if __name__ == "__main__":
    sys.exit(main())
