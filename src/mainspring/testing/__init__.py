"""For users' own tests and demos: things that stand in for a machine, never for our store.

Here: what a test suite outside this project may import, each thing loaded when it is first asked for, so that a test session
which uses none of it pays for none. Not here: our own fixtures (those are in ``tests/support``).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.testing.asserting import Enqueued, assert_enqueued, enqueued, refute_enqueued
    from mainspring.testing.clock import SimulatedClock, SimulatedSystem
    from mainspring.testing.drained import Drained, Ran, Unfinished
    from mainspring.testing.draining import adrain, drain
    from mainspring.testing.postgres import postgres_server
    from mainspring.testing.sandboxing import Sandbox, sandbox

__all__ = [
    "Drained",
    "Enqueued",
    "Ran",
    "Sandbox",
    "SimulatedClock",
    "SimulatedSystem",
    "Unfinished",
    "adrain",
    "assert_enqueued",
    "drain",
    "enqueued",
    "postgres_server",
    "refute_enqueued",
    "sandbox",
]

_HOMES = {
    "asserting": ("Enqueued", "assert_enqueued", "enqueued", "refute_enqueued"),
    "clock": ("SimulatedClock", "SimulatedSystem"),
    "drained": ("Drained", "Ran", "Unfinished"),
    "draining": ("adrain", "drain"),
    "postgres": ("postgres_server",),
    "sandboxing": ("Sandbox", "sandbox"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
