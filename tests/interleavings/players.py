"""Two players on two connections: each is paused before every SQL command and before its commit, and goes on when it is told.

A player that waits for a lock is noticed (the server says who blocks whom), and then the other goes on. A transaction that the
database runs again after a conflict runs to its end without a choice. Here: who may go, one step at a time. Not here: which orders
there are (``orders.py``), and what must be true afterwards (``verdict.py``).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, cast

import psycopg
from psycopg.conninfo import make_conninfo

from mainspring.errors import BrokenInvariant, MainspringError, StorageConflict, StorageUnavailable
from mainspring.store.database import Transaction
from mainspring.store.postgres import PostgresDatabase, PostgresTransaction
from tests.interleavings.stage import PLAYERS, SESSION

Act: TypeAlias = Callable[[Transaction, str], Any]

_LOOK_AFTER_SECONDS = 0.001  # at first; a busy machine is asked less and less often
_LOOK_SELDOM_SECONDS = 0.05
_PATIENCE_SECONDS = 15.0
_CLOCK = "SELECT (extract(epoch FROM transaction_timestamp()) * 1000000)::bigint"
_NEVER = (BrokenInvariant, StorageConflict, StorageUnavailable)


class HangError(AssertionError):
    """A player came to no end, and the server does not say that it waits for the other."""


class _DroppedError(BaseException):
    """The order was given up; the transaction is rolled back."""


class _Is(Enum):
    PAUSED = auto()
    UNDER_WAY = auto()
    BLOCKED = auto()
    DONE = auto()


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How both transactions ended: what they answered, when their clocks stood still, how often one was run again."""

    answers: dict[str, Any] = field(default_factory=dict)
    clocks: dict[str, int] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    again: int = 0
    broken: list[str] = field(default_factory=list)  # errors that no caller may ever see
    steps: list[tuple[str, str]] = field(default_factory=list)  # who, and what
    choices: list[int] = field(default_factory=list)
    written: set[str] = field(default_factory=set)  # tables
    deadlocks: int = 0

    @property
    def story(self) -> list[str]:
        """The steps in order, for people."""
        return [f"{player} {_gist(step)}" for player, step in self.steps]


class _Gated(PostgresTransaction):
    """A transaction whose every command waits for leave. Scripts of several commands are several steps; so are the commands that
    a pipeline would send together, for the server runs those one after the other too."""

    __slots__ = ("_player",)

    def __init__(self, inner: PostgresTransaction, player: _Player) -> None:
        super().__init__(inner._connection, inner._statements, inner.capabilities, inner._pipeline)
        self._player = player

    def _run(self, command: str, bound: dict[str, Any]) -> psycopg.Cursor[Any]:
        self._player.pause(command)
        self._player.outcome.written |= _written(command)
        try:
            cursor = super()._run(command, bound)
            if self._pipeline is not None:
                self._pipeline.sync()
        except psycopg.errors.DeadlockDetected:
            self._player.outcome.deadlocks += 1
            raise
        return cursor

    def finish(self) -> None:
        """Pause before the commit, and remember when this transaction took place."""
        cursor = psycopg.Cursor(self._connection).execute(_CLOCK, prepare=True)
        if self._pipeline is not None:
            self._pipeline.sync()
        ((self._player.outcome.clocks[self._player.name],),) = cursor.fetchall()
        self._player.pause("COMMIT")


class _Player:
    """One side: a thread and a database with one connection."""

    def __init__(self, name: str, conninfo: str, *, portable: bool, inbox: _Inbox) -> None:
        self.name = name
        self.state = _Is.DONE
        self.pid = 0
        self.next_step = ""
        self.outcome = Outcome()
        self.database = PostgresDatabase(conninfo, portable=portable, pool_size=1)
        self._inbox = inbox
        self._jobs: SimpleQueue[Act | None] = SimpleQueue()
        self._leave: SimpleQueue[bool] = SimpleQueue()
        self._first = False
        self._thread = threading.Thread(target=self._play, daemon=True, name=f"player-{name}")
        self._thread.start()

    def begin(self, act: Act, outcome: Outcome) -> None:
        """Make ready; the player pauses before its ``BEGIN``."""
        self.outcome = outcome
        self.state = _Is.UNDER_WAY
        self._jobs.put(act)

    def go(self) -> None:
        """Let the player take its step."""
        self.state = _Is.UNDER_WAY
        self._leave.put(True)

    def drop(self) -> None:
        """Let the player give up."""
        self.state = _Is.UNDER_WAY
        self._leave.put(False)

    def close(self) -> None:
        """End thread and connection."""
        self._jobs.put(None)
        self._thread.join(_PATIENCE_SECONDS)
        self.database.close()

    # -- in the thread ------------------------------------------------------------------------------------------------

    def pause(self, step: str) -> None:
        """Wait for leave. ``BEGIN`` and the first command are one step, for they go out together."""
        if self._first:
            self._first = False
            return
        self._inbox.put((self, _Is.PAUSED, step))
        if not self._leave.get():
            raise _DroppedError

    def _play(self) -> None:
        while (act := self._jobs.get()) is not None:
            try:
                self.pause("BEGIN")
                self._first = True
                self.outcome.answers[self.name] = self._write(act)
            except _DroppedError:
                pass
            except BaseException as error:
                self.outcome.broken.append(f"{self.name}: {type(error).__name__}: {error}")
            self._first = False
            self._inbox.put((self, _Is.DONE, ""))

    def _write(self, act: Act) -> Any:
        try:
            return self.database.write("interleaving", lambda tx: self._transact(cast("PostgresTransaction", tx), act))
        except _NEVER:
            raise
        except MainspringError as refused:
            return f"{type(refused).__name__}: {refused.message}"

    def _transact(self, tx: PostgresTransaction, act: Act) -> Any:
        self.pid = tx._connection.info.backend_pid
        self.outcome.again += self.name in self.outcome.begun
        self.outcome.begun.add(self.name)
        gated = _Gated(tx, self)
        answer = act(gated, self.name)
        gated.finish()
        return answer


_Inbox: TypeAlias = "SimpleQueue[tuple[_Player, _Is, str]]"


class Duel:
    """Two players who take turns."""

    def __init__(self, url: str, *, portable: bool, isolation: str) -> None:
        conninfo = make_conninfo(url, options=f"{SESSION} -c default_transaction_isolation={isolation.replace(' ', chr(92) + ' ')}")
        self._inbox: _Inbox = SimpleQueue()
        self._players = [_Player(name, conninfo, portable=portable, inbox=self._inbox) for name in PLAYERS]
        self._watcher = psycopg.connect(conninfo, autocommit=True)

    def close(self) -> None:
        """End everything."""
        for player in self._players:
            player.close()
        self._watcher.close()

    def fight(self, acts: Sequence[Act], choose: Sequence[int]) -> Outcome:
        """Run both transactions to their ends. ``choose`` says whose step each is while both could go; after that, whoever went
        last goes on.

        Raises:
            Hang: somebody came to no end in bounded time.
        """
        outcome = Outcome()
        for player, act in zip(self._players, acts, strict=True):
            player.begin(act, outcome)
        try:
            self._conduct(outcome, choose)
        except HangError:
            self._give_up()
            raise
        return outcome

    def _conduct(self, outcome: Outcome, choose: Sequence[int]) -> None:
        turn = 0
        while True:
            self._settle(outcome)
            ready = [place for place, player in enumerate(self._players) if player.state is _Is.PAUSED]
            if not ready:
                return
            if len(ready) == 2 and not outcome.again:
                made = len(outcome.choices)
                turn = choose[made] if made < len(choose) else turn
                outcome.choices.append(turn)
            elif turn not in ready:
                turn = ready[0]
            player = self._players[turn]
            outcome.steps.append((player.name, player.next_step))
            player.go()

    def _settle(self, outcome: Outcome) -> None:
        """Wait until nobody is under way: each is paused, done, or waits for the other."""
        give_up_at = time.monotonic() + _PATIENCE_SECONDS
        again = outcome.again
        patience = _LOOK_AFTER_SECONDS
        while any(player.state is _Is.UNDER_WAY for player in self._players):
            if not self._hear(patience):
                self._look()
                patience = min(2 * patience, _LOOK_SELDOM_SECONDS)
            blocked = [player for player in self._players if player.state is _Is.BLOCKED]
            ended = any(player.state is _Is.DONE for player in self._players) or again != outcome.again
            if len(blocked) == 2 or (blocked and ended):  # a deadlock, which the server ends; or nobody is in the way any more
                for player in blocked:
                    player.state = _Is.UNDER_WAY
            if time.monotonic() > give_up_at:
                raise HangError(
                    f"no end after {_PATIENCE_SECONDS} s: {[(p.name, p.state.name, p.next_step) for p in self._players]}"
                )

    def _hear(self, seconds: float) -> bool:
        try:
            player, state, step = self._inbox.get(timeout=seconds)
        except Empty:
            return False
        player.state, player.next_step = state, step
        return True

    def _look(self) -> None:
        """Ask the server who waits for whom."""
        first, second = self._players
        for player, other in ((first, second), (second, first)):
            if player.state is _Is.UNDER_WAY and other.pid in self._ask("SELECT pg_blocking_pids(%s)", player.pid):
                player.state = _Is.BLOCKED

    def _ask(self, question: str, pid: int) -> Any:
        row = self._watcher.execute(cast("Any", question), (pid,), prepare=True).fetchone()
        return row[0] if row else None

    def _give_up(self) -> None:
        """End both sessions, and whatever the players do after that."""
        give_up_at = time.monotonic() + _PATIENCE_SECONDS
        for player in self._players:
            self._ask("SELECT pg_terminate_backend(%s)", player.pid)
        while any(player.state is not _Is.DONE for player in self._players) and time.monotonic() < give_up_at:
            for player in self._players:
                if player.state is _Is.PAUSED:
                    player.drop()
            self._hear(0.1)


@cache
def _written(command: str) -> frozenset[str]:
    """The tables that a command may change, and perhaps words that are no tables."""
    return frozenset(re.findall(r"(?:INSERT INTO|DELETE FROM|UPDATE) (\w+)", command))


def _gist(command: str) -> str:
    """The gist of a command, for people."""
    words = re.sub(r"%\(\w+\)s(::\w+(\[\])?)*", "?", " ".join(command.split()))
    found = re.findall(r"(?:INSERT INTO|DELETE FROM|UPDATE(?! SET)|FROM(?= \w)) \w+", words)
    return words if not found else f"{words.split()[0]} ... {', '.join(dict.fromkeys(found))}"
