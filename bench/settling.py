"""What a database's own upkeep does in its own time, done at once: so that what is measured next pays for itself only.

Every side of a comparison is settled alike after it was filled: bare SQL, the library, and the peers (by their drivers, which run
this module in the benchmark's own interpreter).
"""

from __future__ import annotations

import sys

import apsw
import psycopg


def settle(url: str) -> None:
    """Statistics, visibility and dirty pages of PostgreSQL; the log of a SQLite file."""
    if url.startswith("sqlite:"):
        connection = apsw.Connection(url.removeprefix("sqlite:///"))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.close()
        return
    with psycopg.connect(url, autocommit=True) as session:
        session.execute("VACUUM ANALYZE")
        session.execute("CHECKPOINT")


if __name__ == "__main__":
    settle(sys.argv[1])
