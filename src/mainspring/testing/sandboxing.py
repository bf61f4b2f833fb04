"""A sandbox: for the length of a block an app works on a database of its own, in memory, under a clock that a test moves.

Here: opening and closing it, and what a wait means in it. Not here: running what was enqueued (``draining``), and looking at it
(``asserting``).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from mainspring.app import App
from mainspring.client import Client
from mainspring.codec import Memory
from mainspring.core.durations import format_duration
from mainspring.core.states import ACTIVE, TERMINAL, WAITING_FOR_TIME
from mainspring.errors import InvalidOption, ResultTimeout, UnknownRun
from mainspring.operations import views
from mainspring.store.opening import open_database
from mainspring.testing.clock import SimulatedClock, SimulatedSystem
from mainspring.wakeups import Hub

#: Whether the code at hand is a task that a drain runs.
inside_task: ContextVar[bool] = ContextVar("mainspring_inside_task", default=False)


class Sandbox:
    """An app in its sandbox: ``app``, its ``clock``, and its ``client`` (calls by name, on the sandbox's database).

    Ids count up, and the dice show 0, so a retry comes exactly after its back-off; ``system.dice`` is theirs to change.
    """

    def __init__(self, app: App, clock: SimulatedClock) -> None:
        self.app = app
        self.clock = clock
        self.system = SimulatedSystem(clock)
        self.system.dice = 0.0
        self.drains = 0
        self.places = 0
        self.is_closed = False
        self.client: Client = _SandboxClient(self)

    def __repr__(self) -> str:
        return f"<Sandbox of app {self.app.name!r} at {self.clock.instant.isoformat()}>"

    @contextmanager
    def draining(self, places: int) -> Iterator[int]:
        """While the block lasts, ``places`` attempts at once end the waits for runs; the number of this drain, from 1.

        Raises:
            InvalidOption: somebody drains it already.
        """
        if self.places:
            raise InvalidOption(f"the sandbox of app {self.app.name!r} is being drained already; let that end first", option="app")
        self.drains += 1
        self.places = places
        try:
            yield self.drains
        finally:
            self.places = 0

    def close(self) -> None:
        """Throw the database away."""
        database = self.client.database
        self.is_closed = True
        database.close()


@contextmanager
def sandbox(app: App, *, clock: SimulatedClock | None = None) -> Iterator[Sandbox]:
    """For the length of the block, everything asked of ``app`` goes to a fresh SQLite database in memory, under a simulated clock.

    The app's own database is neither opened nor touched; afterwards the app is as it was, also after an error. Without
    ``clock`` time stands still where this machine's clock is; give ``SimulatedClock("2031-05-01T09:00:00Z")`` for a fixed date,
    or one clock to the sandboxes of several apps. Nothing runs by itself: see ``drain``.

    Raises:
        InvalidOption: the app is in a sandbox already.
    """
    box = Sandbox(app, clock or SimulatedClock.at_present())
    try:
        with app._borrowing(box.client):
            yield box
    finally:
        box.close()


def sandbox_of(target: App | Sandbox) -> Sandbox:
    """The sandbox that is meant.

    Raises:
        InvalidOption: the app is in none, or the sandbox is closed.
    """
    if isinstance(target, App):
        client = target._lent
        if isinstance(client, _SandboxClient):
            return client.box
    elif isinstance(target, Sandbox):
        if not target.is_closed:
            return target
        target = target.app
    else:
        raise InvalidOption(f"an App or its Sandbox is needed, not {target!r}", option="app")
    raise InvalidOption(f"app {target.name!r} is in no sandbox; write `with sandbox(app):` around this", option="app")


class _SandboxClient(Client):
    """The client that a sandbox lends to its app."""

    def __init__(self, box: Sandbox) -> None:
        app = box.app
        database = open_database("sqlite://", clock=box.clock)
        keeping = app.keeping if app.keeping.blobs is None else replace(app.keeping, blobs=Memory())
        super().__init__(database, namespace=app.namespace, system=box.system, actor=f"app:{app.name}", keeping=keeping)
        self.box = box
        self.hub = _Waits(box)
        self._after_commit = [self.hub.work]

    @property
    def database(self) -> Any:
        """The sandbox's database.

        Raises:
            InvalidOption: the sandbox is closed. Waits take a database that is away for a moment's trouble and go on; this they
                do not.
        """
        if self.box.is_closed:
            name = self.box.app.name
            raise InvalidOption(f"the sandbox of app {name!r} is closed, and its runs are gone with it", option="app")
        return self._database


class _Waits(Hub):
    """Hints as ever, and a word to those who wait for a run that nobody will end: no test need hang."""

    def __init__(self, box: Sandbox) -> None:
        super().__init__()
        self._box = box

    def watch_end(self, run_id: str, call: Callable[[], None]) -> Callable[[], None]:
        """See ``Hub.watch_end``. Every wait for a run begins here.

        Raises:
            ResultTimeout: at once, where the run has not ended and nothing here can end it while this waits.
        """
        self._refuse_in_vain(run_id)
        return super().watch_end(run_id, call)

    def _refuse_in_vain(self, run_id: str) -> None:
        box = self._box
        is_alone = box.places == 1 and inside_task.get()
        workers = len(self._on_work) - bool(box.places)  # a drain listens for work too
        if workers or (box.places and not is_alone):
            return
        try:
            view = box.client.runs.get(run_id)
        except UnknownRun:
            return  # whoever waits will say so
        ended = TERMINAL | (ACTIVE if is_alone else set())  # whose place another has by now, has ended and is only not on record
        if view.run.state not in ended:
            raise ResultTimeout(self._in_vain(view, is_alone), run_id=run_id)

    def _in_vain(self, view: views.RunView, is_alone: bool) -> str:
        told = f"run {view.run.id} of {view.task} is {view.run.state}, and nothing in this sandbox runs it"
        if is_alone:
            return f"{told} while this task waits: the drain runs one attempt at a time; write drain(app, concurrency=2)"
        wait = view.run.due_at - self._box.clock.now
        if view.run.state in WAITING_FOR_TIME and wait > 0:
            told += f": it is due in {format_duration(wait)}" + self._failure(view)
            return f'{told}; write drain(app, until="empty"), or advance the clock and drain(app)'
        return f"{told}; write drain(app) first"

    def _failure(self, view: views.RunView) -> str:
        """What its last attempt died of, if that is why it waits."""
        database: Any = self._box.client.database
        ending: views.Ending = database.read("views.outcomes", lambda tx: views.endings(tx, [view.run.id]))[view.run.id]
        return f" (its last attempt failed: {ending.data['message']})" if ending.data.get("message") else ""
