"""Looking at dead letters, and closing them: runs that used up a budget and wait for a person."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mainspring import codec
from mainspring.client.handles import Handle
from mainspring.client.writing import write_again
from mainspring.core.ids import parse_run_id
from mainspring.operations import dead_letters, views
from mainspring.operations.dead_letters import DeadLetter, Group
from mainspring.store.database import Transaction

if TYPE_CHECKING:
    from mainspring.client.client import Client

T = TypeVar("T")
Letters = list[DeadLetter]
Groups = list[Group]


class LetterPage(NamedTuple):
    """Part of the dead letters, and the cursor of what follows; None at the end."""

    data: Letters
    next_cursor: str | None


class DeadLetters:
    """Runs that used up a budget. One is open until it is replayed or dismissed, and is not pruned before that."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(
        self, *, task: str | None = None, code: str | None = None, closed: bool = False, limit: int = 50, cursor: str | None = None
    ) -> LetterPage:
        """A page of the open dead letters, newest run first; with ``closed`` those that are closed too."""
        limit = views.bound_page(limit)
        before = parse_run_id(cursor) if cursor else None
        namespace = self._client.namespace
        data = self._read(
            "dead_letters.list",
            lambda tx: dead_letters.listing(tx, namespace, task=task, code=code, open_only=not closed, before=before, most=limit),
        )
        return LetterPage(data, data[-1].run_id if len(data) == limit else None)

    def get(self, run_id: str) -> DeadLetter:
        """The dead letter of a run.

        Raises:
            UnknownRun: no such run, or it left none.
        """
        named = parse_run_id(run_id)
        return self._read("dead_letters.get", lambda tx: dead_letters.get(tx, self._client.namespace, named))

    def groups(self) -> Groups:
        """The open dead letters by task and code, the largest group first."""
        return self._read("dead_letters.groups", lambda tx: dead_letters.groups(tx, self._client.namespace))

    def replay(self, run_id: str) -> Handle[Any]:
        """Try the run again, as a new run linked to it. Whoever asks second is given the same new run, however far it is.

        Raises:
            UnknownRun: no such run. DeadLetterClosed: it was dismissed, or left none. KeyConflict: another run has a key by now.
        """
        named, new_id = parse_run_id(run_id), self._client.system.new_id()
        again, made, queue = self._write("dead_letters.replay", lambda tx: self._replay(tx, named, new_id))
        self._client.tell_work([queue])
        return Handle(self._client, again, "created" if made else "existing", codec.decode_json)

    def dismiss(self, run_id: str, reason: str) -> bool:
        """Say that nobody will try the run again, and why. False: it was dismissed already.

        Raises:
            UnknownRun: no such run. DeadLetterClosed: it was replayed, or left none. InvalidOption: no reason.
        """
        named = parse_run_id(run_id)
        return self._write("dead_letters.dismiss", lambda tx: dead_letters.dismiss(tx, named, reason=reason, **self._who()))

    def _replay(self, tx: Transaction, run_id: str, new_id: str) -> tuple[str, bool, str]:
        again, made = dead_letters.replay(tx, run_id, new_id, **self._who())
        return again, made, views.get(tx, self._client.namespace, run_id).queue

    def _who(self) -> dict[str, str]:
        return {"namespace": self._client.namespace, "actor": self._client.actor}

    def _read(self, name: str, fn: Callable[[Transaction], T]) -> T:
        result: T = self._client.database.read(name, fn)
        return result

    def _write(self, name: str, fn: Callable[[Transaction], T]) -> T:
        return write_again(self._client.database, name, fn)
