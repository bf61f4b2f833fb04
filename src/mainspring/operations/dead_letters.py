"""Dead letters: runs that used up a budget, kept until a person tries them again or says that nobody will.

What is done about one is written in its own row; the ledger of the run has ended and never grows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mainspring.core.names import check_text
from mainspring.errors import DeadLetterClosed, InvalidOption, UnknownRun
from mainspring.operations import runs
from mainspring.store.database import Transaction

_LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A run that used up a budget. ``closed_how`` is ``replayed`` (as ``replayed_as``) or ``dismissed``; None: it is open."""

    run_id: str
    task: str
    code: str
    opened_at: int
    closed_at: int | None
    closed_by: str | None
    closed_how: str | None
    close_reason: str | None
    replayed_as: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The open dead letters of one task and code."""

    task: str
    code: str
    count: int
    oldest_at: int
    newest_at: int


def listing(
    tx: Transaction, namespace: str, *, task: str | None, code: str | None, open_only: bool, before: str | None, most: int
) -> list[DeadLetter]:
    """A page of dead letters, newest run first; ``before`` is the last run of the page before."""
    rows = tx.rows(
        "dead_letters.list_open" if open_only else "dead_letters.list",
        namespace=namespace,
        task=task or "",
        code=code or "",
        before=before or _LAST_ID,
        most=most,
    )
    return [_letter(row) for row in rows]


def get(tx: Transaction, namespace: str, run_id: str) -> DeadLetter:
    """The dead letter of a run.

    Raises:
        UnknownRun: no such run, or it left none.
    """
    row = tx.one("dead_letters.get", run_id=run_id, namespace=namespace)
    if row is None:
        raise UnknownRun(f"no dead letter of run {run_id} in namespace {namespace!r}", run_id=run_id)
    return _letter(row)


def groups(tx: Transaction, namespace: str) -> list[Group]:
    """The open dead letters by task and code, the largest group first. Reads each open one."""
    found = [
        Group(task=row[0], code=row[1], count=row[2], oldest_at=row[3], newest_at=row[4])
        for row in tx.rows("dead_letters.groups", namespace=namespace)
    ]
    return sorted(found, key=lambda group: (-group.count, group.task, group.code))


def replay(tx: Transaction, run_id: str, new_id: str, *, namespace: str, actor: str) -> tuple[str, bool]:
    """Try the run again as a new one; ``(id, was it made now)``. One that was replayed already gives that run.

    Raises:
        UnknownRun: no such run. DeadLetterClosed: there is no open dead letter of it. KeyConflict: another run has a key by now.
    """
    runs.locked(tx, run_id, namespace)  # before the letter is read, so that of two who ask the second sees what the first did
    letter = _get(tx, run_id, namespace)
    if letter.closed_how == "replayed" and letter.replayed_as is not None:
        return letter.replayed_as, False
    _require_open(letter)
    return runs.retry(tx, run_id, new_id, namespace=namespace, actor=actor)


def dismiss(tx: Transaction, run_id: str, *, namespace: str, actor: str, reason: str) -> bool:
    """Say that nobody will try the run again. False: it was dismissed already.

    Raises:
        UnknownRun: no such run. DeadLetterClosed: it was replayed, or there never was one. InvalidOption: no reason.
    """
    if not check_text(reason, "reason").strip():
        raise InvalidOption("say why it is dismissed: reason=…", option="reason")
    runs.locked(tx, run_id, namespace)
    letter = _get(tx, run_id, namespace)
    if letter.closed_how == "dismissed":
        return False
    _require_open(letter)
    return tx.execute("dead_letters.dismiss", run_id=run_id, actor=actor, reason=reason) == 1


def _get(tx: Transaction, run_id: str, namespace: str) -> DeadLetter:
    row = tx.one("dead_letters.get", run_id=run_id, namespace=namespace)
    if row is None:
        raise DeadLetterClosed(f"run {run_id} left no dead letter: it did not use up a budget")
    return _letter(row)


def _require_open(letter: DeadLetter) -> None:
    if letter.closed_at is not None:
        how = f"was {letter.closed_how} by {letter.closed_by}" if letter.closed_how else "is closed"
        raise DeadLetterClosed(f"the dead letter of run {letter.run_id} {how}; runs.retry tries the run again all the same")


def _letter(row: Sequence[Any]) -> DeadLetter:
    return DeadLetter(
        run_id=row[0], task=row[1], code=row[2], opened_at=row[3], closed_at=row[4], closed_by=row[5], closed_how=row[6],
        close_reason=row[7], replayed_as=row[8],
    )  # fmt: skip
