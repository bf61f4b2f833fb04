"""The SQLAlchemy example as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_books_are_right(fresh_postgres: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.sqlalchemy_shop"],
        cwd=ROOT,
        env=os.environ | {"SHOP_DATABASE": fresh_postgres},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1500 cents earned, 3 orders shipped, runs {'succeeded': 6}\n"
