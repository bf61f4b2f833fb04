"""A database that fails on purpose: one wrapper with two actions, raise or SIGKILL, before or after a named transaction's commit.

Here: the wrapper, and its faults as text so that a process can be started with one. Not here: when to strike (crash tests
choose at random, a simulation by its seed), and anything the code under test would have to know of.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar, assert_never, get_args

from mainspring.errors import CommitUnknown, StorageUnavailable
from mainspring.store.database import Transaction

T = TypeVar("T")
When = Literal["before", "after"]
Action = Literal["kill", "raise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Strike at the ``nth`` transaction (from 1) of this ``name``, ``before`` or ``after`` its commit."""

    name: str
    nth: int
    when: When
    action: Action

    def __str__(self) -> str:
        return f"{self.name}:{self.nth}:{self.when}:{self.action}"

    @staticmethod
    def parse(text: str) -> Fault:
        """A fault as ``str`` writes it."""
        name, nth, when, action = text.split(":")
        if when not in get_args(When) or action not in get_args(Action):
            raise ValueError(f"{text!r} is no fault; write name:nth:before|after:kill|raise")
        return Fault(name=name, nth=int(nth), when=when, action=action)  # type: ignore[arg-type]

    def strike(self) -> None:
        """Do it. A raise says what a caller would be told: nothing was committed, or nobody knows."""
        match self.action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise" if self.when == "before":
                raise StorageUnavailable(f"planned fault before the commit of {self.name}")
            case "raise":
                raise CommitUnknown(f"planned fault after the commit of {self.name}")
            case _:
                assert_never(self.action)


class Faulty:
    """A ``Database`` that strikes where its faults say, and is the wrapped one everywhere else."""

    def __init__(self, database: Any, faults: Sequence[Fault]) -> None:
        self._database = database
        self._faults = {(fault.name, fault.nth): fault for fault in faults}
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def write(self, name: str, fn: Callable[[Transaction], T], /) -> T:
        """Run ``fn`` as the wrapped database does, unless this transaction's time has come."""
        fault = self._next(name)
        if fault is None:
            result: T = self._database.write(name, fn)
        elif fault.when == "before":
            result = self._database.write(name, lambda tx: _and_strike(fn(tx), fault))
        else:
            result = _and_strike(self._database.write(name, fn), fault)
        return result

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._database, name)
        return partial(self._single, found) if name == "single" else found

    def _single(self, single: Callable[..., int], name: str, statement: str, /, **params: Any) -> int:
        """One statement in one round trip: its transaction has no inside, so `before` is before it is sent."""
        fault = self._next(name)
        if fault is not None and fault.when == "before":
            fault.strike()
        changed = single(name, statement, **params)
        return changed if fault is None else _and_strike(changed, fault)

    def _next(self, name: str) -> Fault | None:
        with self._lock:
            self._counts[name] += 1
            return self._faults.get((name, self._counts[name]))


def _and_strike(result: T, fault: Fault) -> T:
    fault.strike()
    return result
