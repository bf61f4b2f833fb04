"""A producer process of a crash trial: ``python -m tests.crash.producer NAME``. Enqueues in every way, and cancels and retries
some of it as an operator would, until told to stop.

It writes down what it is about to ask, and then what it was told: ``accepted`` with the ids, or ``refused`` with the code; of a
cancel or a retry, ``answered``.
"""

from __future__ import annotations

import itertools
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from mainspring import Handle, MainspringError, batch
from tests.crash.jobs import Jobs, fires_on
from tests.crash.ledger import Ledger
from tests.crash.worker import open_jobs

PLAIN = ("quick", "quick", "slow", "threaded", "laned", "laned", "flaky", "patient", "stepwise")
_PAUSE_SECONDS = 0.03
_TRIES = 3
_KEY_NS = 500_000_000
_KEY_AGES = (0, 0, 0, 0, 4, 16)
_SECOND_THOUGHTS_SECONDS = 0.15


class Producer:
    """Calls of one process, each with a number of its own."""

    def __init__(self, jobs: Jobs, ledger: Ledger, dice: random.Random) -> None:
        self._app, self._tasks = jobs
        self._ledger = ledger
        self._dice = dice
        self._numbers = itertools.count()

    def call(self) -> None:
        """One call, of a random kind."""
        kind = self._dice.choices(
            [self.one, self.delayed, self.apart, self.many, self.together, self.keyed, self.alone, self.called_off, self.in_turn],
            weights=[9, 2, 1, 2, 1, 3, 2, 2, 2],
        )[0]
        try:
            kind()
        except MainspringError:
            return  # written down; on with the next

    def one(self) -> None:
        """A single run."""
        self.single(self._dice.choice(PLAIN), {})

    def delayed(self) -> None:
        """A single run, due later."""
        self.single(self._dice.choice(PLAIN), {"delay": f"{self._dice.randrange(50, 400)}ms"})

    def apart(self) -> None:
        """A single run, of the task that has a process to itself."""
        self.single("apart", {})

    def many(self) -> None:
        """Several runs in one transaction."""
        call, size = self._next(), self._dice.randrange(2, 6)
        task = self._tasks["quick"]
        self._ask(call, size, lambda: _told(task.enqueue_many(self._payloads(call, size))))

    def together(self) -> list[str]:
        """A batch and its callback."""
        call, size = self._next(), self._dice.randrange(1, 5)
        member, gather = self._tasks["slow"], self._tasks["gather"]
        members = [member.call(**payload) for payload in self._payloads(call, size)]

        def send() -> list[str]:
            sent = batch(members, then=gather.call(nonce=f"{call}.{size}"), on=fires_on(size)).enqueue()
            assert sent.callback is not None
            return [*sent.members, sent.callback.id]

        return self._ask(call, size + 1, lambda: [(run_id, "created") for run_id in send()])

    def in_turn(self) -> None:
        """A run, and another that waits for its success."""
        (upstream,) = self.single(self._dice.choice(("quick", "slow", "flaky", "patient")), {})
        call, task = self._next(), self._tasks["after"].options(after=[upstream])
        (payload,) = self._payloads(call, 1)
        self._ask(call, 1, lambda: _told([task.enqueue(**payload, upstream=upstream)]))

    def keyed(self) -> None:
        """A run under a key that other producers use as well, or used some seconds ago; asked for again after an error."""
        key = f"key-{time.time_ns() // _KEY_NS - self._dice.choice(_KEY_AGES)}-{self._dice.randrange(2)}"
        task = self._tasks["once"].options(key=key)
        for _ in range(_TRIES):
            try:
                self._ask(self._next(), 1, lambda: _told([task.enqueue(nonce=key)]), key=key)
                return
            except MainspringError:
                continue

    def alone(self) -> None:
        """A run of which there may be one at a time."""
        call, singleton = self._next(), f"single-{self._dice.randrange(3)}"
        task = self._tasks["only"].options(singleton=singleton)
        self._ask(call, 1, lambda: _told([task.enqueue(nonce=f"{call}.0")]), singleton=singleton)

    def called_off(self) -> None:
        """A run or one of a batch that is cancelled soon after, and perhaps tried again."""
        kind = self._dice.randrange(4)
        delay = {"delay": "200ms"} if kind == 0 else {}
        made = self.together() if kind == 1 else self.single(self._dice.choice((*PLAIN, "slow", "stepwise", "apart")), delay)
        time.sleep(self._dice.random() * _SECOND_THOUGHTS_SECONDS)
        run_id = self._dice.choice(made)
        self.ask_about("cancel", run_id)
        if kind != 1 and self._dice.random() < 0.5:
            time.sleep(self._dice.random() * _SECOND_THOUGHTS_SECONDS)
            self.ask_about("retry", run_id)

    def single(self, name: str, options: dict[str, Any]) -> list[str]:
        """A run of this task, with these options."""
        call, task = self._next(), self._tasks[name].options(**options)
        (payload,) = self._payloads(call, 1)
        return self._ask(call, 1, lambda: _told([task.enqueue(**payload)]))

    def ask_about(self, verb: Literal["cancel", "retry"], run_id: str) -> None:
        """Cancel a run, or retry it."""
        runs = self._app.runs
        self._ledger.write(verb, of=run_id)
        try:
            told = runs.cancel(run_id, reason="second thoughts") if verb == "cancel" else runs.retry(run_id).id
        except MainspringError as error:
            self._ledger.write("answered", of=run_id, verb=verb, code=error.code)
            raise
        self._ledger.write("answered", of=run_id, verb=verb, told=told)

    def _ask(self, call: str, size: int, send: Callable[[], Sequence[tuple[str, str]]], **about: Any) -> list[str]:
        self._ledger.write("asked", call=call, size=size, **about)
        try:
            told = send()
        except MainspringError as error:
            self._ledger.write("refused", call=call, code=error.code)
            raise
        ids = [run_id for run_id, _ in told]
        self._ledger.write("accepted", call=call, ids=ids, outcomes=[o for _, o in told], **about)
        return ids

    def _next(self) -> str:
        return f"{self._ledger.process}-{next(self._numbers)}"

    def _payloads(self, call: str, size: int) -> list[dict[str, Any]]:
        return [{"nonce": f"{call}.{place}", "n": self._dice.randrange(1000)} for place in range(size)]


def _told(handles: Sequence[Handle[Any]]) -> list[tuple[str, str]]:
    return [(handle.id, handle.outcome) for handle in handles]


def main() -> None:
    """Enqueue until told to stop."""
    jobs, ledger = open_jobs(sys.argv[1])
    producer, stop = Producer(jobs, ledger, random.Random(sys.argv[1])), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    while not stop.wait(_PAUSE_SECONDS):
        producer.call()
    jobs.app.close()


if __name__ == "__main__":
    main()
