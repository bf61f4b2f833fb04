"""What a transport has to do, as tests: deliver, answer, never wait for its server, come back, and be harmless whatever it does.

A subclass says how to make one; with ``take_down`` and ``bring_back`` its outages are tried too::

    class TestMine(TransportSuite):
        def make(self) -> Transport:
            return MyTransport("mine://127.0.0.1")
"""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mainspring.app import App
from mainspring.client import Handle
from mainspring.store.opening import open_database
from mainspring.system import RealSystem
from mainspring.testing import invariants
from mainspring.testing.conformance.faulty import FaultyTransport
from mainspring.transports import Message, Notifier, Transport

_ODD_NAMES = (("default", "default"), ("a.b", "c.d/e-f_g"), ("UPPER", "x..y"), ("n" * 200, "q" * 200))


class Ear:
    """A subscriber that writes down what it hears."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience = patience_seconds
        self._changed = threading.Condition()
        self.heard: list[Message] = []
        self.warned = 0

    def __call__(self, message: Message | None) -> None:
        """Hear a message, or that some may have been missed."""
        with self._changed:
            if message is None:
                self.warned += 1
            else:
                self.heard.append(message)
            self._changed.notify_all()

    def wait(self, is_so: Callable[[], bool], what: str) -> None:
        """Until ``is_so``; an ``AssertionError`` that says ``what`` did not happen."""
        with self._changed:
            if not self._changed.wait_for(is_so, self._patience):
                raise AssertionError(
                    f"{what}: not within {self._patience} s; heard {self.heard[-5:]}, {self.warned} warnings of missed messages"
                )

    def wait_for(self, message: Message) -> None:
        """Until it has heard this message."""
        self.wait(lambda: message in self.heard, f"hear {message}")

    def wait_for_warning(self, count: int) -> None:
        """Until it was told so often that something may have been missed."""
        self.wait(lambda: self.warned >= count, f"be told {count} times that messages may have been missed")


class TransportSuite:
    """Subclass it and define ``make``. Times are seconds.

    ``bound_seconds`` is how long a call may take while the server is away; ``patience_seconds`` how long a test waits for a
    message that must come.
    """

    patience_seconds = 15.0
    bound_seconds = 3.0
    has_outages = False

    def make(self) -> Transport:
        """A transport, not started. Two of them reach each other."""
        raise NotImplementedError("say how to make your transport")

    def take_down(self) -> None:
        """Make the server go away (only with ``has_outages``)."""

    def bring_back(self) -> None:
        """Make it come back at the same place."""

    # -- carrying ---------------------------------------------------------------------------------------------------

    def test_a_message_reaches_whoever_listens_to_its_queue(self) -> None:
        """Two listeners in two transports, one of them the sender's."""
        with self._running() as here, self._running() as there:
            ears = [self._listening(transport, "shop", ["mail"]) for transport in (here, there)]
            message = _message("shop", "mail")
            self._publish(here, [message])
            for ear in ears:
                ear.wait_for(message)

    def test_a_message_arrives_as_it_was_sent(self) -> None:
        """With its run, its instant and its trace."""
        with self._running() as transport:
            ear = self._listening(transport, "shop", ["mail"])
            trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            message = _message("shop", "mail", run_id=RealSystem().new_id(), trace=trace)
            self._publish(transport, [message])
            ear.wait_for(message)

    def test_every_name_that_may_be_can_be_carried(self) -> None:
        """Names hold dots, dashes, slashes and underscores, and 200 characters."""
        with self._running() as transport:
            for namespace, queue in _ODD_NAMES:
                ear = self._listening(transport, namespace, [queue])
                message = _message(namespace, queue)
                self._publish(transport, [message])
                ear.wait_for(message)

    def test_whoever_listens_to_other_queues_or_namespaces_is_left_alone(self) -> None:
        """Only what was asked for is heard."""
        with self._running() as transport:
            ear = self._listening(transport, "shop", ["mail", "post"])
            self._publish(transport, [_message("shop", "other"), _message("other", "mail"), _message("shop", "post")])
            last = _message("shop", "mail")
            self._publish(transport, [last])
            ear.wait_for(last)
            wrong = [heard for heard in ear.heard if heard.namespace != "shop" or heard.queue not in {"mail", "post"}]
            if wrong:
                raise AssertionError(f"heard what was not asked for: {wrong}")

    def test_there_is_an_answer_for_each_message(self) -> None:
        """One for each, in order, and none for none."""
        with self._running() as transport:
            batch = [_message("shop", "mail") for _ in range(250)]
            self._publish(transport, batch)
            if transport.publish([]):
                raise AssertionError("an answer for no message")

    def test_whoever_begins_to_listen_is_told_that_some_may_have_been_missed(self) -> None:
        """So that it looks for work itself, once."""
        with self._running() as transport:
            self._listening(transport, "shop", ["mail"])

    def test_many_enqueues_at_once_are_few_messages(self) -> None:
        """Each queue is named at most once in 10 ms."""
        with self._running() as transport:
            ear = self._listening(transport, "shop", ["mail", "post"])
            notifier = Notifier(transport, "shop", now=RealSystem().now)
            began = time.monotonic()
            for _ in range(5_000):
                notifier.work(["mail"])
                notifier.work(["post"])
            took = time.monotonic() - began
            notifier.close()
            for queue in ("mail", "post"):
                ear.wait(lambda queue=queue: any(heard.queue == queue for heard in ear.heard), f"hear of {queue}")  # type: ignore[misc]
            most = 2 * (took / 0.01 + 3)
            if notifier.sent > most:
                raise AssertionError(f"{notifier.sent} messages in {took:.2f} s, which is more than {most:.0f}")

    # -- ending -----------------------------------------------------------------------------------------------------

    def test_closing_twice_is_closing_once(self) -> None:
        """A transport, and a subscription, also after its transport."""
        transport = self.make()
        transport.start()
        subscription = transport.subscribe("shop", ["mail"], Ear(self.patience_seconds))
        subscription.close()
        subscription.close()
        transport.close()
        transport.close()
        subscription.close()

    def test_it_can_be_started_again(self) -> None:
        """After ``close``, as an app that is closed and used again does."""
        transport = self.make()
        for _ in range(2):
            transport.start()
            try:
                ear = self._listening(transport, "shop", ["mail"])
                message = _message("shop", "mail")
                self._publish(transport, [message])
                ear.wait_for(message)
            finally:
                transport.close()

    def test_a_closed_subscription_hears_nothing_more(self) -> None:
        """What another one hears of the same queue went by it."""
        with self._running() as transport:
            closed, open_ = Ear(self.patience_seconds), self._listening(transport, "shop", ["mail"])
            subscription = transport.subscribe("shop", ["mail"], closed)
            closed.wait_for_warning(1)
            subscription.close()
            message = _message("shop", "mail")
            self._publish(transport, [message])
            open_.wait_for(message)
            if closed.heard:
                raise AssertionError("heard a message after it was closed")

    # -- being harmless ---------------------------------------------------------------------------------------------

    def test_lost_doubled_late_and_reordered_messages_change_nothing_but_the_time(self) -> None:
        """A worker does each run once, whatever becomes of the messages about them."""
        transport = FaultyTransport(self.make(), seed=7)
        with self._app(transport) as (app, done), self._worker(app):
            handles = [done.enqueue(n) for n in range(100)]
            self._finish(app, handles)
        if not transport.lost + transport.doubled + transport.late:
            raise AssertionError("no fault happened, so nothing was tried")

    # -- outages ----------------------------------------------------------------------------------------------------

    def test_while_it_is_down_publishing_is_refused_and_nobody_waits(self) -> None:
        """Bounded, without an exception, and with a reason for each message."""
        if not self.has_outages:
            return
        with self._running() as transport, self._down():
            self._refused_quickly(transport)

    def test_after_an_outage_it_says_that_some_may_have_been_missed_and_goes_on(self) -> None:
        """By itself: whoever listened goes on listening."""
        if not self.has_outages:
            return
        with self._running() as transport:
            ear = self._listening(transport, "shop", ["mail"])
            with self._down():
                self._refused_quickly(transport)
                warned = ear.warned
            ear.wait_for_warning(warned + 1)
            self._gets_through(transport, ear)

    def test_it_can_be_started_while_its_server_is_away(self) -> None:
        """Starting takes bounded time, and what was subscribed meanwhile hears once the server is back."""
        if not self.has_outages:
            return
        transport = self.make()
        with ExitStack() as ends:
            with self._down():
                began = time.monotonic()
                transport.start()
                ends.callback(transport.close)
                _check_quick("start()", time.monotonic() - began, self.bound_seconds)
                ear = Ear(self.patience_seconds)
                transport.subscribe("shop", ["mail"], ear)
            ear.wait_for_warning(1)
            self._gets_through(transport, ear)

    def test_a_transport_that_is_down_fails_no_enqueue_and_no_run(self) -> None:
        """Runs are found by the poll; the enqueue does not wait either."""
        if not self.has_outages:
            return
        with self._app(self.make()) as (app, done):
            done.enqueue(-1)  # everything is open and up
            with self._worker(app), self._down():
                began = time.monotonic()
                handles = [done.enqueue(n) for n in range(20)]
                _check_quick("20 enqueues", time.monotonic() - began, self.bound_seconds)
                self._finish(app, handles)

    # -- pieces -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _running(self) -> Iterator[Transport]:
        transport = self.make()
        transport.start()
        try:
            yield transport
        finally:
            transport.close()

    @contextmanager
    def _down(self) -> Iterator[None]:
        self.take_down()
        try:
            yield
        finally:
            self.bring_back()

    def _listening(self, transport: Transport, namespace: str, queues: Sequence[str]) -> Ear:
        ear = Ear(self.patience_seconds)
        transport.subscribe(namespace, queues, ear)
        ear.wait_for_warning(1)
        return ear

    def _publish(self, transport: Transport, batch: Sequence[Message]) -> None:
        answers = transport.publish(batch)
        refused = [answer.error for answer in answers if not answer.is_published]
        if len(answers) != len(batch) or refused:
            raise AssertionError(f"{len(batch)} messages, {len(answers)} answers, refused: {refused[:3]}")

    def _refused_quickly(self, transport: Transport) -> None:
        give_up_at = time.monotonic() + self.patience_seconds
        while True:  # the first may have gone into the line before anybody knew that nobody is there
            began = time.monotonic()
            answers = transport.publish([_message("shop", "mail"), _message("shop", "post")])
            _check_quick("publish()", time.monotonic() - began, self.bound_seconds)
            if len(answers) == 2 and not any(answer.is_published for answer in answers):
                return
            if time.monotonic() > give_up_at:
                raise AssertionError(f"the server is away, and publish() still says {answers}")

    def _gets_through(self, transport: Transport, ear: Ear) -> None:
        give_up_at = time.monotonic() + self.patience_seconds
        message = _message("shop", "mail")
        while not all(answer.is_published for answer in transport.publish([message])):
            if time.monotonic() > give_up_at:
                raise AssertionError("the server is back, and publish() still refuses")
            time.sleep(0.02)
        ear.wait_for(message)

    @contextmanager
    def _app(self, transport: Transport) -> Iterator["tuple[App, Done]"]:
        with tempfile.TemporaryDirectory() as folder:
            app = App("suite", database=f"sqlite:///{Path(folder) / 'runs.db'}", transport=transport)
            done = Done(app)
            try:
                yield app, done
            finally:
                app.close()
                database = open_database(f"sqlite:///{Path(folder) / 'runs.db'}", clock=RealSystem().now)
                invariants.check(database)
                database.close()

    @contextmanager
    def _worker(self, app: App) -> Iterator[None]:
        process = app.worker(poll="200ms", concurrency=4)
        thread = threading.Thread(target=process.run, name="suite-worker")
        thread.start()
        try:
            yield
        finally:
            while thread.is_alive():  # it may not have begun yet
                process.stop()
                thread.join(0.05)

    def _finish(self, app: App, handles: Sequence[Handle[int]]) -> None:
        for handle in handles:
            handle.result(timeout=self.patience_seconds)
        attempts = [app.runs.get(handle.id).run.token for handle in handles]
        if any(token != 1 for token in attempts):
            raise AssertionError(f"some run was claimed more than once: {attempts}")


class Done:
    """A task that gives its number back."""

    def __init__(self, app: App) -> None:
        self._task = app.task(name="suite.same")(_same)

    def enqueue(self, n: int) -> Handle[int]:
        """Create a run."""
        return self._task.enqueue(n)


def _same(n: int) -> int:
    return n


def _message(namespace: str, queue: str, run_id: str | None = None, trace: str | None = None) -> Message:
    return Message(namespace=namespace, queue=queue, at=RealSystem().now(), run_id=run_id, trace=trace)


def _check_quick(what: str, took: float, bound: float) -> None:
    if took > bound:
        raise AssertionError(f"{what} took {took:.1f} s while the server was away; the bound is {bound} s")
