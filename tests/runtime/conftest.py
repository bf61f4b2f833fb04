"""The stage of the virtual-time tests; when a test is over, every invariant of the database holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mainspring.testing import invariants
from tests.support.virtual import Stage, open_stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    with contextmanager(open_stage)() as opened:
        yield opened
        invariants.check(opened.database, lowered=opened.fleet.lowered)
