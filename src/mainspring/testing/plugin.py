"""pytest fixtures: a clock and a factory of sandboxes. pytest loads this by itself wherever Mainspring is installed.

Here: fixtures, and nothing that is imported before a test asks for one. Not here: what they do (``sandboxing``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mainspring import App
    from mainspring.testing import Sandbox, SimulatedClock


@pytest.fixture
def mainspring_clock() -> SimulatedClock:
    """The clock of the test's sandboxes: it stands where this machine's is. Override it for a fixed date."""
    from mainspring.testing.clock import SimulatedClock

    return SimulatedClock.at_present()


@pytest.fixture
def mainspring_sandbox(mainspring_clock: SimulatedClock) -> Iterator[Callable[[App], Sandbox]]:
    """``box = mainspring_sandbox(app)``: the app is in a sandbox until the test is over."""
    from mainspring.testing.sandboxing import sandbox

    with ExitStack() as opened:
        yield lambda app: opened.enter_context(sandbox(app, clock=mainspring_clock))
