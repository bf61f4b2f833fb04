"""The audit log on every database: one chain whoever writes, every damage found, and pruned without losing the proof."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mainspring import Client
from mainspring.core.access import Identity, grant_of
from mainspring.core.audit import BEGINNING, PRUNED, Entry, Place, sealed
from mainspring.core.durations import DAY
from mainspring.errors import AuditBroken, BrokenInvariant, InvalidOption, NotAllowed
from mainspring.operations import audit
from mainspring.operations.audit import Verdict
from mainspring.store.database import Transaction
from mainspring.store.statements import load
from tests.support.builders import AnyDatabase, Fleet, open_transaction, started, together

COLUMNS = ("seq", "at", "actor", "namespace", "action", "subject", "data", "previous", "hash")


def record(database: AnyDatabase, subject: str = "queue:mail", **told: Any) -> Entry:
    said = {"action": "queue.paused", "namespace": "test", "actor": "user:ann"} | told
    return database.write("audit.record", lambda tx: audit.record(tx, subject, **said))


def record_many(database: AnyDatabase, count: int, **told: Any) -> list[Entry]:
    return [record(database, f"queue:q{number}", data={"number": number}, **told) for number in range(count)]


def verify(database: AnyDatabase, *, page: int = 3, anchor: Place | None = None) -> Verdict:
    return audit.verify(database.read, anchor=anchor, page=page)


def entries(database: AnyDatabase) -> list[Entry]:
    return database.read("audit.list", lambda tx: audit.listing(tx, before=None, most=500))[::-1]


def prune(database: AnyDatabase, *, before: int, most: int = 500) -> audit.Pruned:
    return database.write("audit.prune", lambda tx: audit.prune(tx, before=before, most=most, actor="user:root"))


def sql(database: AnyDatabase, text: str) -> list[tuple[Any, ...]]:
    return Fleet(database=database).sql(text)


def broken_at(database: AnyDatabase) -> int | None:
    verdict = verify(database)
    return None if verdict.broken is None else verdict.broken.seq


@contextmanager
def damaged(database: AnyDatabase, seq: int, change: str) -> Iterator[None]:
    """An entry changed by somebody who can write the database, and put back."""
    (row,) = sql(database, f"SELECT {', '.join(COLUMNS)} FROM audit_entries WHERE seq = {seq}")
    sql(database, change)
    yield
    values = ", ".join(str(value) if isinstance(value, int) else f"'{value}'" for value in row)
    sql(database, f"DELETE FROM audit_entries WHERE seq >= 1000 OR seq = {seq}")
    sql(database, f"INSERT INTO audit_entries ({', '.join(COLUMNS)}) VALUES ({values})")


def test_no_statement_changes_an_entry() -> None:
    changing = [name for name, each in load("portable").items() if "UPDATE audit_entries" in "".join(each.commands)]
    assert changing == []


# -- one chain ---------------------------------------------------------------------------------------------------------


def test_an_entry_tells_who_did_what_where_and_when(database: AnyDatabase) -> None:
    made = record(database, data={"why": "maintenance"})
    (entry,) = entries(database)
    assert entry == made
    assert (entry.seq, entry.actor, entry.namespace, entry.action, entry.subject) == (
        1, "user:ann", "test", "queue.paused", "queue:mail",
    )  # fmt: skip
    assert (entry.data, entry.previous) == ('{"why":"maintenance"}', BEGINNING.hash)


def test_an_empty_log_holds(database: AnyDatabase) -> None:
    assert verify(database) == Verdict(checked=0, start=BEGINNING, end=BEGINNING, broken=None)


@pytest.mark.parametrize("page", [1, 2, 7, 100])
def test_a_log_is_followed_in_pages_of_any_length(database: AnyDatabase, page: int) -> None:
    made = record_many(database, 7)
    assert verify(database, page=page) == Verdict(checked=7, start=BEGINNING, end=made[-1].place, broken=None)


def test_what_is_rolled_back_was_never_recorded(database: AnyDatabase) -> None:
    record(database)

    def fn(tx: Transaction) -> None:
        audit.record(tx, "queue:mail", action="queue.paused", namespace="test", actor="user:ann")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write("audit.record", fn)
    record(database)
    assert [entry.seq for entry in entries(database)] == [1, 2]
    assert broken_at(database) is None


def test_writers_let_loose_together_keep_one_chain(database: AnyDatabase) -> None:
    together(*(lambda n=n: record_many(database, 10, actor=f"user:u{n}") for n in range(6)))
    assert [entry.seq for entry in entries(database)] == list(range(1, 61))
    assert broken_at(database) is None


def test_the_first_entries_of_two_processes_at_once_make_one_chain(database: AnyDatabase, rival: AnyDatabase) -> None:
    together(lambda: record(database), lambda: record(rival))
    assert [entry.seq for entry in entries(database)] == [1, 2]
    assert broken_at(rival) is None


def test_a_second_writer_follows_the_first_that_commits_late(database: AnyDatabase, rival: AnyDatabase) -> None:
    record(database)
    with open_transaction(database) as tx:
        first = audit.record(tx, "queue:one", action="queue.paused", namespace="test", actor="user:ann")
        second = started(rival, lambda: record(rival, "queue:two"))
    assert second().previous == first.hash


def test_acts_with_no_audit_do_not_wait_for_one_that_has(fleet: Fleet, rival: AnyDatabase) -> None:
    if fleet.clock is not None:
        return  # SQLite has one writer, whatever is written
    with open_transaction(fleet.database) as tx:
        audit.record(tx, "queue:mail", action="queue.paused", namespace="test", actor="user:ann")
        assert fleet.enqueue()
        assert len(fleet.claim()) == 1


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", COLUMNS)
def test_another_value_in_any_column_of_any_entry_is_found(database: AnyDatabase, column: str) -> None:
    record_many(database, 5)
    other = f"{column} + 1000" if column in {"seq", "at"} else f"{column} || 'x'"
    for seq in range(1, 6):
        with damaged(database, seq, f"UPDATE audit_entries SET {column} = {other} WHERE seq = {seq}"):
            assert broken_at(database) == seq
        assert broken_at(database) is None


def test_an_entry_taken_out_anywhere_is_found(database: AnyDatabase) -> None:
    record_many(database, 5)
    for seq in range(1, 6):
        with damaged(database, seq, f"DELETE FROM audit_entries WHERE seq = {seq}"):
            assert broken_at(database) == seq


def test_an_entry_made_to_fit_is_found_by_the_one_after_it(database: AnyDatabase) -> None:
    made = record_many(database, 5)
    forged = sealed(Entry(**{name: getattr(made[2], name) for name in COLUMNS} | {"actor": "user:mallory"}))
    with damaged(database, 3, f"UPDATE audit_entries SET actor = '{forged.actor}', hash = '{forged.hash}' WHERE seq = 3"):
        assert broken_at(database) == 4


def test_an_entry_added_beside_the_log_is_found(database: AnyDatabase) -> None:
    last = record_many(database, 3)[-1]
    sql(
        database,
        "INSERT INTO audit_entries (seq, at, actor, namespace, action, subject, data, previous, hash)"
        f" SELECT 4, at, actor, namespace, action, subject, data, '{last.hash}', 'x' FROM audit_entries WHERE seq = 3",
    )
    assert broken_at(database) == 4


@pytest.mark.parametrize("change", ["seq = seq - 1", "hash = 'x'", "pruned_seq = 2", "pruned_hash = 'x'"])
def test_another_value_in_the_row_that_says_where_the_log_ends_and_begins_is_found(database: AnyDatabase, change: str) -> None:
    record_many(database, 5)
    sql(database, f"UPDATE audit_chain SET {change}")
    assert broken_at(database) is not None


def test_the_first_damage_is_named_and_how_far_the_log_holds(database: AnyDatabase) -> None:
    made = record_many(database, 9)
    sql(database, "UPDATE audit_entries SET actor = 'user:mallory' WHERE seq IN (5, 8)")
    verdict = verify(database)
    assert verdict.broken is not None
    assert (verdict.broken.seq, verdict.checked, verdict.end) == (5, 4, made[3].place)
    assert verdict.broken.why == "it was altered: its hash does not fit its columns"


def test_a_log_cut_at_its_end_with_the_row_that_says_so_is_found_by_an_anchor(database: AnyDatabase) -> None:
    made = record_many(database, 5)
    sql(database, "DELETE FROM audit_entries WHERE seq > 3")
    sql(database, f"UPDATE audit_chain SET seq = 3, hash = '{made[2].hash}'")
    assert broken_at(database) is None  # as is said in core/audit.py
    assert verify(database, anchor=made[2].place).broken is None
    found = verify(database, anchor=made[4].place).broken
    assert found is not None
    assert (found.seq, found.why) == (4, "it is missing: the anchor says that there were 5")


def test_a_log_made_anew_as_a_whole_is_found_by_an_anchor(database: AnyDatabase) -> None:
    kept = record_many(database, 5)[3].place
    sql(database, "DELETE FROM audit_entries; DELETE FROM audit_chain")
    record_many(database, 5, actor="user:mallory")
    assert broken_at(database) is None
    found = verify(database, anchor=kept).broken
    assert found is not None
    assert found.seq == 4


def test_a_log_whose_end_row_is_gone_takes_no_more_entries(database: AnyDatabase) -> None:
    record_many(database, 2)
    sql(database, "DELETE FROM audit_chain")
    assert broken_at(database) == 3
    with pytest.raises(BrokenInvariant):
        record(database)


# -- pruning -----------------------------------------------------------------------------------------------------------


def test_what_is_left_after_pruning_still_holds_and_tells_of_it(database: AnyDatabase) -> None:
    made = record_many(database, 7)
    assert prune(database, before=made[-1].at + 1, most=4) == audit.Pruned(entries=4, more=True)
    verdict = verify(database)
    assert (verdict.broken, verdict.start, verdict.checked) == (None, made[3].place, 4)
    last = entries(database)[-1]
    assert (last.action, last.actor, last.namespace) == (PRUNED, "user:root", "*")
    assert f'"through":4,"hash":"{made[3].hash}"' in last.data


def test_pruning_again_and_again_keeps_a_log_that_holds(database: AnyDatabase) -> None:
    for _ in range(4):
        made = record_many(database, 3)
        prune(database, before=made[-1].at + 1, most=2)
        record(database)
        assert broken_at(database) is None
    assert [entry.seq for entry in entries(database)] == list(range(9, 21))


def test_only_what_is_older_is_pruned(database: AnyDatabase) -> None:
    made = record_many(database, 3)
    assert prune(database, before=made[0].at) == audit.Pruned(entries=0, more=False)
    assert entries(database) == made


def test_entries_removed_in_the_manner_of_a_prune_and_not_by_one_are_found(database: AnyDatabase) -> None:
    made = record_many(database, 5)
    sql(database, "DELETE FROM audit_entries WHERE seq <= 2")
    sql(database, f"UPDATE audit_chain SET pruned_seq = 2, pruned_hash = '{made[1].hash}'")
    verdict = verify(database)
    assert verdict.broken is not None
    assert (verdict.broken.seq, verdict.broken.why) == (2, "it and those before it were removed, and no entry tells of it")


def test_a_log_that_does_not_hold_is_not_pruned(database: AnyDatabase) -> None:
    made = record_many(database, 5)
    sql(database, "UPDATE audit_entries SET actor = 'user:mallory' WHERE seq = 2")
    with pytest.raises(AuditBroken) as refused:
        prune(database, before=made[-1].at + 1)
    assert refused.value.details == {"seq": 2}
    assert len(entries(database)) == 5


def test_an_anchor_that_was_pruned_is_told(database: AnyDatabase) -> None:
    made = record_many(database, 5)
    prune(database, before=made[-1].at + 1, most=3)
    assert verify(database, anchor=made[2].place).broken is None
    with pytest.raises(InvalidOption, match="entry 2 has been pruned; the oldest anchor there can be is 3:"):
        verify(database, anchor=made[1].place)


def test_a_log_that_is_pruned_and_added_to_while_it_is_followed_holds(database: AnyDatabase) -> None:
    made = record_many(database, 9)
    looks = 0

    def read(name: str, fn: Any) -> Any:
        nonlocal looks
        looks += 1
        if looks == 2:
            prune(database, before=made[-1].at + 1, most=6)
            record(database)
        return database.read(name, fn)

    verdict = audit.verify(read, page=2)
    assert (verdict.broken, verdict.start, verdict.end.seq) == (None, made[5].place, 11)


# -- reading and asking ------------------------------------------------------------------------------------------------


def test_entries_are_listed_newest_first_page_by_page_and_by_what_they_say(database: AnyDatabase) -> None:
    client = Client(database)
    for number in range(3):
        record(database, f"queue:q{number}", actor=f"user:u{number}", namespace=f"n{number}", action=f"queue.did{number}")
    first = client.audit.list(limit=2)
    assert [entry.seq for entry in first.data] == [3, 2]
    assert [entry.seq for entry in client.audit.list(limit=2, cursor=first.next_cursor).data] == [1]
    for asked in ({"namespace": "n1"}, {"subject": "queue:q1"}, {"actor": "user:u1"}, {"action": "queue.did1"}):
        assert [entry.seq for entry in client.audit.list(**asked).data] == [2]  # type: ignore[arg-type]


def test_pruning_takes_an_admin_of_everything(fleet: Fleet) -> None:
    client = Client(fleet.database)
    record_many(fleet.database, 3)
    with pytest.raises(NotAllowed):
        client.audit.prune(older_than="0s", by=Identity(actor="user:bob", grant=grant_of("admin", ["a"])))
    before = fleet.now
    if fleet.clock is not None:
        fleet.clock.now = before + DAY
    assert client.audit.prune(older_than="0s", by=Identity(actor="user:ann", grant=grant_of("admin", ["*"]))) == 3
    assert [entry.actor for entry in client.audit.list().data] == ["user:ann"]
    assert client.audit.verify().broken is None


@pytest.mark.parametrize("anchor", ["", "3", "3:xyz", "x:" + "0" * 64])
def test_what_is_no_anchor_is_refused(database: AnyDatabase, anchor: str) -> None:
    with pytest.raises(InvalidOption, match="an anchor is NUMBER:HASH"):
        Client(database).audit.verify(anchor=anchor)


def test_secrets_in_what_is_told_are_hidden_and_too_much_is_left_out(database: AnyDatabase) -> None:
    told = record(database, data={"password": "hunter22", "url": "postgresql://ann:hunter22@db/x", "n": {"api_key": "hunter22"}})
    assert "hunter22" not in told.data
    assert record(database, data={"text": "x" * 20_000}).data == '{"left_out_characters":20011}'
