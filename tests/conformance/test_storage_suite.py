"""Our databases under the suite that users run against theirs; and databases that break one promise each, which must not pass.

Here: how each is made, and what is broken. Not here: what is demanded (``mainspring/testing/conformance/storage.py``).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mainspring.operations.moves import as_run
from mainspring.store.database import Capabilities, Database, Transaction
from mainspring.store.migrate import migrate
from mainspring.store.postgres import PostgresDatabase
from mainspring.store.sqlite import SqliteDatabase
from mainspring.system import RealSystem
from mainspring.testing.conformance import StorageSuite
from tests.conformance.conftest import empty


def sqlite(path: str) -> SqliteDatabase:
    database = SqliteDatabase(path, clock=RealSystem().now)
    migrate(database, dialect_name="sqlite")
    return database


class TestSqlite(StorageSuite):
    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> None:
        self.path = str(tmp_path / "runs.db")

    def make(self) -> Database:
        return sqlite(self.path)

    def again(self, database: Database) -> Database:
        return sqlite(self.path)


class TestMemory(StorageSuite):
    def make(self) -> Database:
        return sqlite(":memory:")


class TestPostgres(StorageSuite):
    portable = False

    @pytest.fixture(autouse=True)
    def _url(self, postgres_home: str) -> None:
        self.url = postgres_home

    def make(self) -> Database:
        empty(self.url)
        return self.again(None)

    def again(self, database: Database | None) -> Database:
        return PostgresDatabase(self.url, portable=self.portable)


class TestPortable(TestPostgres):
    portable = True


# -- broken promises ---------------------------------------------------------------------------------------------------

Act = Callable[[], Any]


@dataclass(slots=True, kw_only=True)
class Bug:
    """One promise broken: in how a transaction is run, in what a statement does, or in what is promised."""

    write: Callable[[Database, str, Any], Any] = lambda inner, name, fn: inner.write(name, fn)
    read: Callable[[Database, str, Any], Any] = lambda inner, name, fn: inner.read(name, fn)
    statements: dict[str, Callable[[Transaction, Act, dict[str, Any]], Any]] = field(default_factory=dict)
    now: Callable[[int], int] = lambda now: now
    promised: dict[str, bool] = field(default_factory=dict)
    is_believed: bool = True  # what the database says of itself, its transactions say too


class Broken:
    """A database with a bug, over one that has none."""

    def __init__(self, inner: Any, bug: Bug) -> None:
        self.inner = inner
        self.bug = bug

    @property
    def capabilities(self) -> Capabilities:
        promised: Capabilities = self.inner.capabilities
        return replace(promised, **self.bug.promised)

    def write(self, name: str, fn: Callable[[Transaction], Any], /) -> Any:
        return self.bug.write(self.inner, name, lambda tx: fn(BrokenTransaction(tx, self)))

    def read(self, name: str, fn: Callable[[Transaction], Any], /) -> Any:
        return self.bug.read(self.inner, name, lambda tx: fn(BrokenTransaction(tx, self)))

    def close(self) -> None:
        self.inner.close()

    def notify(self, channel: str, payloads: list[str]) -> bool:
        return True

    def notifications(self, channel: str, stop: Any) -> Iterator[str]:
        yield ""
        stop.wait()


class BrokenTransaction:
    """A transaction of it."""

    def __init__(self, tx: Transaction, owner: Broken) -> None:
        self.tx = tx
        self.owner = owner

    @property
    def capabilities(self) -> Capabilities:
        return self.owner.capabilities if self.owner.bug.is_believed else self.tx.capabilities

    @property
    def now(self) -> int:
        return self.owner.bug.now(self.tx.now)

    def _run(self, how: str, statement: str, params: dict[str, Any]) -> Any:
        bug = self.owner.bug.statements.get(statement)

        def act() -> Any:
            return getattr(self.tx, how)(statement, **params)

        return act() if bug is None else bug(self.tx, act, params)

    def rows(self, statement: str, /, **params: Any) -> Any:
        return self._run("rows", statement, params)

    def one(self, statement: str, /, **params: Any) -> Any:
        rows = self._run("rows", statement, params)
        return rows[0] if rows else None

    def execute(self, statement: str, /, **params: Any) -> Any:
        return self._run("execute", statement, params)

    def send(self, statement: str, /, **params: Any) -> Any:
        changed = self.execute(statement, **params)
        return lambda: changed

    def ask(self, statement: str, /, **params: Any) -> Any:
        rows = self.rows(statement, **params)
        return lambda: rows


class _UndoneError(Exception):
    """How a commit is forgotten."""


def forgetful(inner: Database, name: str, fn: Callable[[Transaction], Any]) -> Any:
    """The commit does not happen, and nobody is told."""
    kept: list[Any] = []

    def then_undone(tx: Transaction) -> None:
        kept.append(fn(tx))
        raise _UndoneError

    with pytest.raises(_UndoneError):
        inner.write(name, then_undone)
    return kept[-1]


def undaunted(inner: Database, name: str, fn: Callable[[Transaction], Any]) -> Any:
    """What failed is committed up to where it failed."""

    def caught(tx: Transaction) -> tuple[Any, Exception | None]:
        try:
            return fn(tx), None
        except Exception as error:
            return None, error

    answer, error = inner.write(name, caught)
    if error is not None:
        raise error
    return answer


class _EachByItself:
    """A read whose every statement sees another moment."""

    def __init__(self, inner: Database) -> None:
        self.inner = inner
        self.capabilities = inner.capabilities

    @property
    def now(self) -> int:
        return self.inner.read("clock.now", lambda tx: tx.now)

    def rows(self, statement: str, /, **params: Any) -> Any:
        return self.inner.read(statement, lambda tx: tx.rows(statement, **params))


def unfenced(tx: Transaction, act: Act, params: dict[str, Any]) -> Any:
    """Whoever says that a run has succeeded is believed."""
    runs = {run.id: run for run in map(as_run, tx.rows("runs.lock", ids=[row[0] for row in params["batch"]]))}
    params["batch"] = [(key, runs[key].token, runs[key].seq + 1, body) for key, _, _, body in params["batch"]]
    return act()


def hoarded(tx: Transaction, act: Act, params: dict[str, Any]) -> Any:
    """What a limit once held it holds for ever."""
    for lane_id, _, units in act():
        _held[lane_id] = max(units, _held.get(lane_id, 0))
    return [(lane_id, None, units) for lane_id, units in _held.items()]


def mangled(tx: Transaction, act: Act, params: dict[str, Any]) -> Any:
    """Text is kept in some smaller alphabet."""
    params["batch"] = [(row[0], row[1].decode().encode("ascii", "replace")) for row in params["batch"]]
    return act()


def nothing(tx: Transaction, act: Act, params: dict[str, Any]) -> Any:
    """It does nothing, and finds nothing."""
    return 0


def none_found(tx: Transaction, act: Act, params: dict[str, Any]) -> Any:
    return []


def all_taken(tx: Transaction, act: Act, params: dict[str, Any]) -> Any:
    """Every key is the caller's, whoever had it."""
    act()
    wanted = params.get("wanted")
    return [(params["run_id"],)] if wanted is None else [(row[3],) for row in wanted]


def everybody(tx: Transaction, act: Act, params: dict[str, Any]) -> Any:
    """The leases of all are over as soon as that of one is."""
    return [(name,) for name in ("w1", "w2")] if act() else []


def twice(tx: Transaction, act: Act, params: dict[str, Any]) -> Any:
    """What was claimed is left where it was, to be claimed again."""
    return len(params["batch"])


def in_pieces(tx: Transaction, act: Act, params: dict[str, Any]) -> Any:
    """The newest entry is not there yet."""
    return act()[:-1]


_ticks = itertools.count()
_held: dict[int, int] = {}

#: What is broken, and a test that must say so.
BUGS: dict[str, tuple[Bug, str]] = {
    "a commit is forgotten": (Bug(write=forgetful), "test_a_write_that_returned_is_there_for_everybody"),
    "what failed is kept": (Bug(write=undaunted), "test_a_write_that_fails_leaves_nothing"),
    "what failed is kept of an enqueue": (
        Bug(write=undaunted),
        "test_a_run_lives_and_dies_with_the_transaction_it_was_created_in",
    ),
    "each statement of a read sees another moment": (
        Bug(read=lambda inner, name, fn: fn(_EachByItself(inner))),
        "test_a_read_sees_one_moment",
    ),
    "time goes on in a transaction": (
        Bug(now=lambda now: now + next(_ticks)),
        "test_a_transaction_has_one_instant_and_the_next_a_later_one",
    ),
    "time stands still": (Bug(now=lambda now: 0), "test_a_transaction_has_one_instant_and_the_next_a_later_one"),
    "text is mangled": (Bug(statements={"runs.create_alike": mangled}), "test_payloads_come_back_as_they_went"),
    "runs are handed out twice": (Bug(statements={"attempts.take": twice}), "test_each_run_is_claimed_once_however_many_claim"),
    "ends are not fenced": (
        Bug(statements={"attempts.succeed": unfenced}),
        "test_a_lapsed_lease_is_taken_and_its_late_holder_changes_nothing",
    ),
    "no lease ever lapses": (
        Bug(statements={"workers.lapsed": none_found}),
        "test_a_lapsed_lease_is_taken_and_its_late_holder_changes_nothing",
    ),
    "leases lapse before their time": (
        Bug(statements={"workers.lapsed": everybody}),
        "test_a_lease_that_is_not_over_is_left_alone",
    ),
    "keys are anybody's": (Bug(statements={"keys.take": all_taken}), "test_one_idempotency_key_is_one_run"),
    "singletons are anybody's": (Bug(statements={"keys.take_singleton": all_taken}), "test_a_singleton_is_one_live_run"),
    "singletons are never free": (Bug(statements={"keys.free_singletons": nothing}), "test_a_singleton_is_one_live_run"),
    "slots are not counted": (Bug(statements={"limits.held": none_found}), "test_a_limit_holds_for_all_who_claim_at_once"),
    "slots are never free": (Bug(statements={"limits.held": hoarded}), "test_a_limit_holds_for_all_who_claim_at_once"),
    "a late end is believed, and frees a slot": (
        Bug(statements={"attempts.succeed": unfenced}),
        "test_a_late_end_returns_no_slot_of_the_attempt_after_it",
    ),
    "deliveries are lost": (
        Bug(statements={"deliveries.write": nothing}),
        "test_a_delivery_is_written_with_its_run_and_taken_by_one",
    ),
    "ledgers lack what came last": (Bug(statements={"views.events": in_pieces}), "test_a_ledger_tells_all_that_happened_in_order"),
    "nothing can be pruned": (
        Bug(statements={"retention.prunable": none_found}),
        "test_pruning_takes_what_has_ended_and_nothing_else",
    ),
    "what is local is called durable": (
        Bug(promised={"durable": True, "process_local": False}),
        "test_what_was_committed_outlives_the_process",
    ),
    "hints go nowhere": (Bug(promised={"notify": True}), "test_the_database_carries_hints_to_those_who_listen"),
    "what is not promised is done all the same": (
        Bug(promised={"limits": False}, is_believed=False),
        "test_what_is_not_promised_is_refused_before_any_effect",
    ),
}


class Suite(StorageSuite):
    """The suite over a database with a bug; its second process opens an empty one where the first is local."""

    patience_seconds = 0.5

    def __init__(self, path: str, bug: Bug) -> None:
        self.path = path
        self.bug = bug

    def make(self) -> Any:
        return Broken(sqlite(self.path), self.bug)

    def again(self, database: Any) -> Any:
        return Broken(sqlite(self.path), self.bug)


@pytest.mark.parametrize("broken", BUGS)
def test_a_database_that_breaks_a_promise_does_not_pass(broken: str, tmp_path: Path) -> None:
    bug, test = BUGS[broken]
    path = ":memory:" if "process_local" in bug.promised else str(tmp_path / "runs.db")
    with pytest.raises(Exception) as refused:
        getattr(Suite(path, bug), test)()
    assert not isinstance(refused.value, (TypeError, AttributeError, NameError)), refused.value


def test_a_database_without_any_bug_passes(tmp_path: Path) -> None:
    """So that whatever fails above fails for its bug."""
    for n, test in enumerate(name for name in dir(StorageSuite) if name.startswith("test_")):
        getattr(Suite(str(tmp_path / f"{n}.db"), Bug()), test)()


def test_claims_that_wait_for_others_keep_no_promise_to_pass_over_them(postgres_home: str) -> None:
    class Waiting(Suite):
        def make(self) -> Any:
            empty(postgres_home)
            return self.again(None)

        def again(self, database: Any) -> Any:
            return Broken(PostgresDatabase(postgres_home, portable=True), self.bug)

    with pytest.raises(Exception):  # noqa: B017
        Waiting("", Bug(promised={"skip_locked": True})).test_a_claim_passes_over_what_another_is_claiming()


@pytest.mark.parametrize(
    "denied",
    ["transactional_enqueue", "leases", "idempotency", "singleton", "limits", "deliveries", "reads_history", "prunes"],
)
def test_whatever_is_not_promised_is_refused(denied: str, tmp_path: Path) -> None:
    Suite(str(tmp_path / "runs.db"), Bug(promised={denied: False})).test_what_is_not_promised_is_refused_before_any_effect()
