"""What a database has to do, as tests: keep what it says it kept, all or nothing, one moment at a time; and every promise it gives.

A subclass says how to make one, and how another process would reach the same storage::

    class TestMine(StorageSuite):
        def make(self) -> Database:
            return migrated(MyDatabase("mine://127.0.0.1/empty"))

        def again(self, database: Database) -> Database:
            return MyDatabase("mine://127.0.0.1/empty")

A promise (``Capabilities``) that is given is tried; what depends on one that is not given must be refused before any effect.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from threading import Barrier
from typing import Any, NamedTuple

from mainspring import codec
from mainspring.client import Client, Handle
from mainspring.client.requests import Request
from mainspring.core.attempts import Succeeded
from mainspring.core.durations import DAY, HOUR, MILLISECOND
from mainspring.core.lanes import Lane
from mainspring.core.limits import Limit
from mainspring.core.policy import Policy
from mainspring.core.states import State
from mainspring.errors import CapabilityUnsupported, KeyConflict
from mainspring.operations import attempts, claims, deliveries, dispatching, retention, views
from mainspring.operations.claims import Claimed, Claimer, Walk
from mainspring.operations.enqueue import NewRun, create, interned, policy_row
from mainspring.store.database import Database, Transaction, drive
from mainspring.system import RealSystem
from mainspring.testing.conformance.transport import Ear
from mainspring.transports import Message
from mainspring.transports.choosing import native

_SPACE = "suite"
_MOST_CLAIMS = 50
_REAP_TTL = 200 * MILLISECOND
_ODD_TEXTS = ("", "'", '"', "\\", '{NULL,"x"}', "%s :now {{now}}", "a\nb\tc\r", "\u2028", "żółć 🌱", "\ufffe", "x" * 200_000)
_POLICY = policy_row(Policy())
_LANE = Lane(namespace=_SPACE, queue="main", task="work", priority=0)


class _Abandon(Exception):  # noqa: N818  no mistake: how a test has a transaction fail
    """What a transaction of these tests fails with."""


class Cast(NamedTuple):
    """Everybody who uses one database in these tests: callers, workers, operators."""

    database: Database
    client: Client

    def enqueue(self, value: Any = 1, **options: Any) -> Handle[Any]:
        """Create a run by the client."""
        return self.client.submit([_asked(value, **options)])[0]

    def create_in(self, tx: Transaction) -> str:
        """Create a run inside a transaction; its id."""
        run_id = RealSystem().new_id()
        drive(tx, interned([_LANE], [_POLICY]))
        drive(tx, create([NewRun(run_id, _LANE.id, _POLICY[0], b"1", "user:suite")], {}))
        return run_id

    def claim(self, worker: str, *, most: int = 10, ttl: int = HOUR) -> list[Claimed]:
        """Claim as a worker that has every task and queue of these tests."""
        return self.database.write("attempts.claim", lambda tx: self.claim_in(tx, worker, most=most, ttl=ttl))

    def claim_in(self, tx: Transaction, worker: str, *, most: int = 10, ttl: int = HOUR) -> list[Claimed]:
        """Claim inside a transaction."""
        attempts.register(tx, worker, namespace=_SPACE, tasks="[]", queues="[]", concurrency=most, ttl=ttl)
        who = Claimer(worker_id=worker, namespace=_SPACE, queues={"main": None}, tasks={"work": 1})
        return claims.claim(tx, who, Walk(), most=most).runs

    def finish(self, worker: str, held: Sequence[Claimed]) -> set[str]:
        """Write successes; the runs whose lease was lost."""
        ended = [attempts.Ended(run, Succeeded(b"null"), Policy(), 0.0) for run in held]
        return self.database.write("attempts.finish", lambda tx: attempts.finish(tx, ended, actor=f"worker:{worker}"))

    def reap(self) -> int:
        """Take the runs of workers whose lease is over."""
        return self.database.write(
            "attempts.reap", lambda tx: attempts.reap(tx, views.policies, ttl=_REAP_TTL, actor="leader") or 0
        )

    def state(self, run_id: str) -> State:
        """The state of a run."""
        return self.client.runs.get(run_id).run.state

    def how_many(self) -> int:
        """How many runs there are."""
        return len(self.database.read("test.count", _listed))


def _given(*promises: str) -> Callable[[Callable[[Any, Cast], None]], Callable[[Any], None]]:
    """A test of these promises on a database of its own; where one of them is not given there is nothing to try."""

    def decorate(test: Callable[[Any, Cast], None]) -> Callable[[Any], None]:
        def tried(self: "StorageSuite") -> None:
            with closing(self.make()) as database:
                given = database.capabilities.as_data()
                if all(given[name] for name in promises):
                    test(self, _cast(database))

        tried.__name__, tried.__doc__ = test.__name__, test.__doc__  # and not what it takes: runners would look for that
        return tried

    return decorate


class StorageSuite:
    """Subclass it and define ``make``, and ``again`` unless the database is local to the process.

    ``patience_seconds`` is how long a test waits for what must come.
    """

    patience_seconds = 15.0

    def make(self) -> Database:
        """An empty database at this code's schema (``mainspring.store.migrate.migrate``). The suite closes it."""
        raise NotImplementedError("say how to make your database")

    def again(self, database: Database) -> Database:
        """The same storage as another process has it, also after ``database`` was closed. The suite closes it."""
        raise NotImplementedError("say how another process reaches the same storage")

    # -- transactions -----------------------------------------------------------------------------------------------

    @_given()
    def test_a_write_that_returned_is_there_for_everybody(self, here: Cast) -> None:
        """In other transactions, and over other connections."""
        with self._also(here) as there:
            run_id = here.database.write("runs.create", here.create_in)
            _same("the run's state", [here.state(run_id), there.state(run_id)], [State.QUEUED] * 2)

    @_given()
    def test_a_write_that_fails_leaves_nothing(self, here: Cast) -> None:
        """And fails with what went wrong in it."""
        _fail_after(here, here.create_in)
        _same("runs", here.how_many(), 0)

    @_given()
    def test_a_read_sees_one_moment(self, here: Cast) -> None:
        """What is committed meanwhile is seen by the next read, and does not wait for this one."""
        with self._also(here) as there, ThreadPoolExecutor(1) as other:
            if here.database.capabilities.process_local:
                return  # there, reads and writes may take turns

            def fn(tx: Transaction) -> tuple[int, int]:
                before = len(_listed(tx))
                other.submit(there.database.write, "runs.create", there.create_in).result(self.patience_seconds)
                return before, len(_listed(tx))

            _same("runs at the beginning and at the end of one read", here.database.read("test.moment", fn), (0, 0))
            _same("runs in the next read", here.how_many(), 1)

    @_given()
    def test_a_transaction_has_one_instant_and_the_next_a_later_one(self, here: Cast) -> None:
        """By the database's clock."""
        first, again = here.database.write("clock.now", lambda tx: (tx.now, _later(tx)))
        _same("the instant of one transaction", again, first)
        self._until(lambda: here.database.read("clock.now", lambda tx: tx.now) > first, "a later instant in a later transaction")

    @_given("leases")
    def test_payloads_come_back_as_they_went(self, here: Cast) -> None:
        """Whatever is in them, one by one and many at once."""
        sent: dict[str, Any] = {here.enqueue(text).id: text for text in _ODD_TEXTS}
        many = [_asked(n) for n in range(500)]
        sent |= {handle.id: n for n, handle in enumerate(here.client.submit(many))}
        got = {run.id: codec.decode_json(run.body or b"") for run in here.claim("w1", most=1_000)}
        wrong = [run_id for run_id, value in sent.items() if got.get(run_id) != value]
        _same("payloads that came back otherwise", [repr(sent[run_id])[:40] for run_id in wrong], [])

    # -- promises ---------------------------------------------------------------------------------------------------

    @_given("durable")
    def test_what_was_committed_outlives_the_process(self, here: Cast) -> None:
        """``durable``: it is there when the database is opened again."""
        run_id = here.enqueue().id
        here.database.close()
        with closing(self.again(here.database)) as database:
            _same("the run after a restart", _cast(database).state(run_id), State.QUEUED)

    @_given("transactional_enqueue", "leases")
    def test_a_run_lives_and_dies_with_the_transaction_it_was_created_in(self, here: Cast) -> None:
        """``transactional_enqueue``: with everything else that was written there."""
        _fail_after(here, lambda tx: (here.create_in(tx), here.create_in(tx)))
        kept = here.database.write("runs.create", lambda tx: (here.create_in(tx), here.create_in(tx)))
        _same("runs to be claimed", {run.id for run in here.claim("w1")}, set(kept))

    @_given("leases")
    def test_each_run_is_claimed_once_however_many_claim(self, here: Cast) -> None:
        """``leases``."""
        with self._also(here) as there:
            runs = [here.enqueue(n).id for n in range(40)]
            got = _together(*(lambda n=n, who=who: _all_of(who, f"w{n}") for n, who in enumerate([here, there] * 2)))
            _same("runs that were claimed", sorted(run_id for part in got for run_id in part), sorted(runs))

    @_given("leases")
    def test_a_lapsed_lease_is_taken_and_its_late_holder_changes_nothing(self, here: Cast) -> None:
        """``leases``: the fence grows with every claim, and only the newest holder ends the run."""
        run_id = here.enqueue().id
        late = here.claim("w1", ttl=1)
        self._until(lambda: here.reap() == 1, "the lapsed lease to be taken")
        new = here.claim("w2")
        _same("the second claim", [(run.id, run.token) for run in new], [(run_id, 2)])
        _same("leases the late holder lost", here.finish("w1", late), {run_id})
        _same("the run after the late end", here.state(run_id), State.RUNNING)
        _same("leases the holder lost", here.finish("w2", new), set())
        _same("the run after its end", here.state(run_id), State.SUCCEEDED)

    @_given("leases")
    def test_a_lease_that_is_not_over_is_left_alone(self, here: Cast) -> None:
        """``leases``: while another one's is taken."""
        kept = here.enqueue().id
        here.claim("w1")
        here.enqueue()
        here.claim("w2", ttl=1)
        self._until(lambda: here.reap() > 0, "the lapsed lease to be taken")
        _same("the run of the worker that lives", here.state(kept), State.RUNNING)

    @_given("idempotency")
    def test_one_idempotency_key_is_one_run(self, here: Cast) -> None:
        """``idempotency``: also for many at once; another payload is refused, and a transaction that failed holds no key."""
        with self._also(here) as there:
            made = _together(*(lambda who=who: who.enqueue(key="k") for who in [here, there] * 3))
            _same("runs", len({handle.id for handle in made}), 1)
            _same("outcomes", sorted(handle.outcome for handle in made), ["created", *["existing"] * 5])
            _refused(KeyConflict, lambda: here.enqueue(2, key="k"))
            _same("runs", here.how_many(), 1)

    @_given("singleton", "leases")
    def test_a_singleton_is_one_live_run(self, here: Cast) -> None:
        """``singleton``: also for many at once; the end of one makes room for the next."""
        with self._also(here) as there:
            made = _together(*(lambda who=who: who.enqueue(singleton="s") for who in [here, there] * 3))
            _same("runs", len({handle.id for handle in made}), 1)
            here.finish("w1", here.claim("w1"))
            _same("the next one", here.enqueue(singleton="s").outcome, "created")

    @_given("limits", "leases")
    def test_a_limit_holds_for_all_who_claim_at_once(self, here: Cast) -> None:
        """``limits``."""
        with self._also(here) as there:
            here.client.queues.declare("main", limits=[Limit(2)])
            for n in range(10):
                here.enqueue(n)
            got = _together(*(lambda n=n, who=who: who.claim(f"w{n}") for n, who in enumerate([here, there] * 2)))
            held = [run for part in got for run in part] + here.claim("w9")  # those who got in each other's way may have got none
            _same("runs at once under a limit of 2", len(held), 2)
            here.finish("w0", held[:1])
            _same("runs that begin where one has ended", len(here.claim("w9")), 1)

    @_given("limits", "leases")
    def test_a_late_end_returns_no_slot_of_the_attempt_after_it(self, here: Cast) -> None:
        """``limits``."""
        here.client.queues.declare("main", limits=[Limit(1)])
        here.enqueue()
        late = here.claim("w1", ttl=1)
        self._until(lambda: here.reap() == 1, "the lapsed lease to be taken")
        _same("runs that begin once the slot is free", len(here.claim("w2")), 1)
        here.finish("w1", late)
        here.enqueue()
        _same("runs that begin beside the one that runs", len(here.claim("w3")), 0)

    @_given("deliveries")
    def test_a_delivery_is_written_with_its_run_and_taken_by_one(self, here: Cast) -> None:
        """``deliveries``."""
        with self._also(here) as there:
            here.client.queues.declare("main")
            here.database.write("deliveries.declare", _deliver)
            _fail_after(here, lambda tx: deliveries.follow(tx, [here.create_in(tx)]))
            run_id = here.enqueue().id
            got = _together(*(lambda who=who: who.database.write("deliveries.take", _take) for who in [here, there] * 2))
            _same("those who took the delivery", [taken.run_id for part in got for taken in part], [run_id])

    @_given("reads_history", "leases")
    def test_a_ledger_tells_all_that_happened_in_order(self, here: Cast) -> None:
        """``reads_history``."""
        run_id = here.enqueue().id
        here.finish("w1", here.claim("w1"))
        told = [(event.seq, str(event.type)) for event in here.client.runs.events(run_id)]
        _same("the ledger", told, [(1, "created"), (2, "claimed"), (3, "succeeded")])

    @_given("prunes", "leases")
    def test_pruning_takes_what_has_ended_and_nothing_else(self, here: Cast) -> None:
        """``prunes``: piece by piece, also where runs ended at one instant."""
        for n in range(5):
            here.enqueue(n)
        here.finish("w1", here.claim("w1", most=5))
        live = here.enqueue().id
        ahead = here.database.read("clock.now", lambda tx: tx.now) + DAY
        gone, cursor = 0, None
        for _ in range(5):
            answer = here.database.write("retention.prune", lambda tx, at=cursor: _prune(tx, ahead, at))  # type: ignore[misc]
            gone, cursor = gone + answer.runs, answer.cursor
            if cursor is None:
                break
        _same("runs that went", gone, 5)
        _same("runs that are left", here.database.read("test.count", _listed), [live])

    @_given("skip_locked", "leases")
    def test_a_claim_passes_over_what_another_is_claiming(self, here: Cast) -> None:
        """``skip_locked``: it does not wait for the other one's commit."""
        with self._also(here) as there, ThreadPoolExecutor(2) as others:
            for n in range(2):
                here.enqueue(n)
            there.claim("w2", most=1, ttl=HOUR)  # it has said hello, and has a run of its own
            here.enqueue(3)

            def fn(tx: Transaction) -> tuple[list[Claimed], list[Claimed]]:
                mine = here.claim_in(tx, "w1", most=1)
                return mine, others.submit(there.claim, "w2", most=1).result(self.patience_seconds)

            got = here.database.write("attempts.claim", fn)
            _same("different runs for two who claim", len({run.id for part in got for run in part}), 2)

    @_given("notify")
    def test_the_database_carries_hints_to_those_who_listen(self, here: Cast) -> None:
        """``notify``."""
        with self._also(here) as there, ExitStack() as ends:
            speaker, listener = native(here.database), native(there.database)
            for transport in (speaker, listener):
                transport.start()
                ends.callback(transport.close)
            ear = Ear(self.patience_seconds)
            ends.callback(listener.subscribe(_SPACE, ["main"], ear).close)
            ear.wait_for_warning(1)
            message = Message(namespace=_SPACE, queue="main", at=RealSystem().now())
            speaker.publish([message])
            ear.wait_for(message)

    @_given()
    def test_what_is_not_promised_is_refused_before_any_effect(self, here: Cast) -> None:
        """With ``capability_unsupported``, naming the promise."""
        given = here.database.capabilities.as_data()
        for name, call in _NEEDS.items():
            if given[name]:
                continue
            refusal = _refused(CapabilityUnsupported, lambda call=call: call(here))  # type: ignore[misc]
            _same("the promise the refusal names", refusal.details.get("capability"), name)
        _same("runs after calls that were refused", here.how_many(), 0)

    # -- pieces -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _also(self, here: Cast) -> Iterator[Cast]:
        """Another process at the same storage; where there can be none, the same one."""
        if here.database.capabilities.process_local:
            yield here
            return
        with closing(self.again(here.database)) as database:
            yield _cast(database)

    def _until(self, is_so: Callable[[], bool], what: str) -> None:
        give_up_at = time.monotonic() + self.patience_seconds
        while not is_so():
            if time.monotonic() > give_up_at:
                raise AssertionError(f"{what}: not within {self.patience_seconds} s")
            time.sleep(0.01)


def _cast(database: Database) -> Cast:
    return Cast(database, Client(database, namespace=_SPACE))


def _asked(value: Any, *, key: str | None = None, singleton: str | None = None) -> Request:
    return Request(lane=_LANE, policy=_POLICY, body=_body(value), key=key, key_ttl=DAY, singleton=singleton)


def _body(value: Any) -> bytes:
    return codec.encode_json(value, what="payload", largest=codec.LARGEST)


def _listed(tx: Transaction) -> list[str]:
    """Every run there is."""
    return [view.run.id for view in views.listing(tx, _SPACE)]


def _later(tx: Transaction) -> int:
    """The transaction's clock, after it has been busy."""
    _listed(tx)
    return tx.now


def _deliver(tx: Transaction) -> None:
    deliveries.declare(tx, _SPACE, "main", dispatch="deferred", dispatch_timeout=None)


def _take(tx: Transaction) -> list[dispatching.Taken]:
    return dispatching.take(tx, _SPACE, ["main"], most=10)


def _prune(tx: Transaction, cut_off: int, cursor: str | None) -> retention.Pruned:
    return retention.prune(tx, _SPACE, cut_off=cut_off, states=[State.SUCCEEDED], cursor=cursor, most=2)


def _all_of(who: Cast, worker: str) -> list[str]:
    """What a worker gets that claims three at a time until it gets nothing."""
    claims_ = iter(lambda: who.claim(worker, most=3), [])
    return [run.id for got in islice(claims_, _MOST_CLAIMS) for run in got]  # bounded: a broken one may hand out for ever


def _fail_after(who: Cast, fn: Callable[[Transaction], Any]) -> None:
    """A transaction that does this, and then fails."""

    def failing(tx: Transaction) -> None:
        fn(tx)
        raise _Abandon

    _refused(_Abandon, lambda: who.database.write("test.abandon", failing))


def _refused(kind: type[BaseException], call: Callable[[], Any]) -> Any:
    try:
        answer = call()
    except kind as error:
        return error
    raise AssertionError(f"expected {kind.__name__}, and got {answer!r}")


def _same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, and not {expected!r}")


def _together(*calls: Callable[[], Any]) -> list[Any]:
    """Make calls at the same moment, each in a thread of its own; their answers in order."""
    gate = Barrier(len(calls))

    def through_the_gate(call: Callable[[], Any]) -> Any:
        gate.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(through_the_gate, calls))


#: A call that needs each promise, and would have an effect.
_NEEDS: dict[str, Callable[[Cast], Any]] = {
    "transactional_enqueue": lambda who: who.client.submit([_asked(1)], using=object()),
    "leases": lambda who: who.claim("w1"),
    "idempotency": lambda who: who.enqueue(key="k"),
    "singleton": lambda who: who.enqueue(singleton="s"),
    "limits": lambda who: who.client.limits.set("queue", "main", Limit(1)),
    "deliveries": lambda who: who.database.write("deliveries.declare", _deliver),
    "reads_history": lambda who: who.client.runs.events(RealSystem().new_id()),
    "prunes": lambda who: who.client.runs.prune(),
}
