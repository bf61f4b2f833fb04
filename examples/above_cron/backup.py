"""Copy a SQLite file that is in use, whole or not at all: ``python -m examples.above_cron.backup FROM TO``."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path


def main() -> int:
    """The exit code; the size of the copy is printed."""
    source, copy = map(Path, sys.argv[1:])
    part = copy.with_suffix(".part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as there, closing(sqlite3.connect(part)) as here:
        there.backup(here)
    part.replace(copy)
    print(f"{copy.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
