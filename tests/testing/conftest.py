"""An app that must never open its own database, and its sandbox; when a test is over, every promise holds of what it left there.

Here: fixtures of the tests of sandboxes. Not here: the tasks that run in real processes (``process_tasks.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring import App
from mainspring.testing import Sandbox, SimulatedClock, invariants, sandbox


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    """An app whose own database does not exist, and must not when the test is over."""
    own = tmp_path / "own.db"
    yield App("shop", database=f"sqlite:///{own}")
    assert not own.exists(), "the app's own database was opened"


@pytest.fixture
def box(app: App) -> Iterator[Sandbox]:
    """The app's sandbox, on the first of May 2031."""
    with sandbox(app, clock=SimulatedClock("2031-05-01T09:00:00Z")) as opened:
        yield opened
        invariants.check(opened.client.database)
