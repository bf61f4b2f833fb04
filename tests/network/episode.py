"""One episode: callers and two workers behind proxies, troubles drawn by a seed, then a network that heals, then the oracles.

Here: the order of things, and what strikes whom. Not here: how (``tests/support/proxy.py``) and what must hold (``checker``).
"""

from __future__ import annotations

import io
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from mainspring import App
from mainspring.core.states import TERMINAL
from mainspring.runtime.hosting import WorkerProcess
from mainspring.store.postgres import PostgresDatabase
from mainspring.testing import invariants
from mainspring.testing.invariants import Violation
from mainspring.testing.postgres import PostgresServer
from tests.network.checker import Evidence, read_runs, violations
from tests.network.jobs import Caller, Jobs, Witness, build
from tests.support.proxy import Forgotten, Manner, Point, Proxy, Strike, Target, Way

ANSWER_SECONDS = 0.6
_LONGEST_CALL_SECONDS = 30.0
_DRAIN_SECONDS = 40.0
_FAREWELL_SECONDS = 25.0
_LOOK_SECONDS = 0.02
_TEMPLATE = "mainspring_network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What happened in an episode, and what does not hold."""

    seed: int
    troubles: list[str]
    runs: int
    attempts: int
    refusals: dict[str, int]
    longest_call: float
    drain_seconds: float
    violations: list[Violation]


class Ground:
    """A server of our own, and a migrated database to copy."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        with psycopg.connect(server.url, autocommit=True) as session:
            session.execute(f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
        app = App("network", database=_named(server.url, _TEMPLATE))
        app.migrate()

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """A database for one episode."""
        made, source = sql.Identifier(name), sql.Identifier(_TEMPLATE)
        with psycopg.connect(self.server.url, autocommit=True) as session:
            session.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(made, source))
        try:
            yield _named(self.server.url, name)
        finally:
            with psycopg.connect(self.server.url, autocommit=True) as session:
                session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(made))


class Hand:
    """A worker in a thread, on an App of its own, behind a proxy of its own."""

    def __init__(self, url: str, witness: Witness, name: str) -> None:
        self.jobs = open_jobs(url, witness, name)
        self.worker: WorkerProcess = self.jobs.app.worker(name=name, concurrency=6, lease="2s", poll="100ms", grace="3s")
        self.broken: BaseException | None = None
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:
            self.broken = error

    def dismiss(self) -> Violation | None:
        """Stop it; what is wrong with how it ended."""
        self.worker.stop()
        self.thread.join(_FAREWELL_SECONDS)
        if self.thread.is_alive():
            return Violation("a_worker_stops", self.thread.name, f"still there after {_FAREWELL_SECONDS:.0f} s")
        self.jobs.app.close()
        return Violation("a_worker_stops", self.thread.name, repr(self.broken)) if self.broken else None


def open_jobs(url: str, witness: Witness, name: str) -> Jobs:
    """The App of a worker or of callers, its database opened while the line is sound, and impatient as its lease is short."""
    jobs = build(url, witness, name)
    database: PostgresDatabase = jobs.app.client.database
    database.answer_seconds = ANSWER_SECONDS
    return jobs


class Episode:
    """Everything of one seed."""

    def __init__(self, ground: Ground, seed: int, *, kills: int = 0) -> None:
        self._ground = ground
        self._seed = seed
        self._kills = kills
        self._dice = random.Random(seed)
        self._witness = Witness()
        self._proxies: list[Proxy] = []
        self._troubles: list[str] = []
        self._heal_at: dict[Proxy, float] = {}

    def run(self) -> Report:
        """The whole of it."""
        with ExitStack() as stack:
            url = stack.enter_context(self._ground.database(f"network_{self._seed}"))
            said = stack.enter_context(_log())
            self._proxies = [stack.enter_context(Proxy(url, seed=self._seed + nth)) for nth in range(3)]
            hands = [Hand(self._proxies[nth].url, self._witness, f"w{nth}") for nth in (0, 1)]
            jobs = open_jobs(self._proxies[2].url, self._witness, "callers")
            callers = [Caller(jobs, self._witness, f"c{nth}", self._seed) for nth in range(2)]
            if self._kills:
                self._take_the_server_away(self._kills)
            else:
                self._trouble(self._dice.uniform(1.5, 3.0))
            found = self._end_calls(callers)
            drained = self._drain(url)
            found += [wrong for hand in hands if (wrong := hand.dismiss())]
            jobs.app.close()
            return self._judge(url, found, drained, said.getvalue())

    # -- trouble --------------------------------------------------------------------------------------------------------

    def _trouble(self, seconds: float) -> None:
        over_at = time.monotonic() + seconds
        while time.monotonic() < over_at:
            proxy = self._dice.choice(self._proxies)
            if proxy not in self._heal_at:
                kinds: list[Callable[[Proxy], None]] = [
                    self._strike,
                    self._bytes,
                    self._cut,
                    self._silence,
                    self._refuse,
                    self._slow,
                ]
                self._dice.choices(kinds, weights=[8, 3, 2, 3, 2, 1])[0](proxy)
            time.sleep(self._dice.uniform(0.02, 0.25))
            for late in [each for each, at in self._heal_at.items() if at <= time.monotonic()]:
                self._heal(late)
        for proxy in self._proxies:
            self._heal(proxy)

    def _heal(self, proxy: Proxy) -> None:
        self._heal_at.pop(proxy, None)
        proxy.heal(self._dice.choice(list(Forgotten)))

    def _note(self, proxy: Proxy, what: str, seconds: float) -> None:
        self._heal_at[proxy] = time.monotonic() + seconds
        self._troubles.append(f"{'012'[self._proxies.index(proxy)]}: {what}")

    def _strike(self, proxy: Proxy) -> None:
        """At a chosen moment; and sometimes the line stays away for a while after it."""
        strike = Strike(
            point=self._dice.choice(list(Point)),
            manner=self._dice.choice(list(Manner)),
            target=self._dice.choices(list(Target), weights=[3, 1])[0],
            nth=self._dice.randrange(1, 5),
        )
        proxy.arm(strike)
        stays_away = self._dice.random() < 0.5
        seconds = self._dice.uniform(0.2, 1.2)
        self._note(proxy, f"{strike}{' and away' if stays_away else ''}", seconds)
        if strike.hit.wait(0.5) and stays_away:
            proxy.refuse()
            proxy.cut(self._dice.choice([Manner.CLOSE, Manner.RESET]))

    def _bytes(self, proxy: Proxy) -> None:
        """In the middle of whatever passes after so many bytes."""
        strike = Strike(
            manner=self._dice.choice(list(Manner)),
            after_bytes=(self._dice.choice(list(Way)), self._dice.randrange(1, 4000)),
        )
        self._note(proxy, str(strike), self._dice.uniform(0.2, 0.8))
        proxy.arm(strike)

    def _cut(self, proxy: Proxy) -> None:
        manner = self._dice.choice([Manner.CLOSE, Manner.RESET])
        self._note(proxy, f"all cut, {manner}", 0.1)
        proxy.cut(manner)

    def _silence(self, proxy: Proxy) -> None:
        """Half open: one direction or both; at times for longer than a lease."""
        ways = self._dice.choice([(Way.UP,), (Way.DOWN,), tuple(Way)])
        self._note(proxy, f"silent {' and '.join(ways)}", self._dice.choice([0.3, 0.8, 2.5]))
        proxy.silence(*ways)

    def _refuse(self, proxy: Proxy) -> None:
        self._note(proxy, "refused", self._dice.uniform(0.2, 1.5))
        proxy.refuse()
        proxy.cut(Manner.RESET)

    def _slow(self, proxy: Proxy) -> None:
        self._note(proxy, "slow", 0.6)
        proxy.slow(self._dice.uniform(0.0, 0.04), 0.04)

    def _take_the_server_away(self, times: int) -> None:
        """SIGKILL to PostgreSQL amid work, and it comes back after a while."""
        for _ in range(times):
            time.sleep(self._dice.uniform(0.3, 1.0))
            self._ground.server.kill()
            self._troubles.append("server killed")
            time.sleep(self._dice.choice([0.0, 0.3, 1.5]))
            self._ground.server.start()

    # -- the end --------------------------------------------------------------------------------------------------------

    def _end_calls(self, callers: list[Caller]) -> list[Violation]:
        for caller in callers:
            caller.stop()
        for caller in callers:
            caller.thread.join(_LONGEST_CALL_SECONDS + 5.0)
        return [Violation("a_call_ends_in_time", c.thread.name, "never ended") for c in callers if c.thread.is_alive()]

    def _drain(self, url: str) -> float:
        """Until every run has ended, or time is up; how long that took."""
        began = time.monotonic()
        ended = [str(state) for state in TERMINAL]
        with psycopg.connect(url, autocommit=True) as session:
            while time.monotonic() - began < _DRAIN_SECONDS:
                if session.execute("SELECT 1 FROM runs WHERE state <> ALL (%s) LIMIT 1", (ended,)).fetchone() is None:
                    break
                time.sleep(_LOOK_SECONDS)
        return time.monotonic() - began

    def _judge(self, url: str, found: list[Violation], drained: float, said: str) -> Report:
        calls = self._witness.calls
        evidence = Evidence(
            runs=read_runs(url), calls=calls, lines=self._witness.lines, log=said, longest_call_seconds=_LONGEST_CALL_SECONDS
        )
        database = PostgresDatabase(url)
        try:
            found = [*found, *violations(evidence), *invariants.violations(database)]
        finally:
            database.close()
        codes = [call.refused for call in calls if call.refused]
        return Report(
            seed=self._seed,
            troubles=self._troubles,
            runs=len(evidence.runs),
            attempts=sum(line.what == "begin" for line in evidence.lines),
            refusals={code: codes.count(code) for code in set(codes)},
            longest_call=max((call.seconds for call in calls), default=0.0),
            drain_seconds=drained,
            violations=found,
        )


@contextmanager
def _log() -> Iterator[io.StringIO]:
    """What our code says aloud meanwhile; the driver's own words about its connections are nobody's concern."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    ours, theirs = logging.getLogger("mainspring"), logging.getLogger("psycopg")
    ours.addHandler(handler)
    level, theirs.level, passes, ours.propagate = theirs.level, logging.CRITICAL, ours.propagate, False
    try:
        yield text
    finally:
        ours.removeHandler(handler)
        theirs.level, ours.propagate = level, passes


def _named(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
