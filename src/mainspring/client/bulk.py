"""Acts on many runs: ``runs.preview(...)`` says what an act would do, ``.apply()`` does it, ``runs.bulk`` goes on with one.

What ``apply`` does is written down before it begins and after each chunk, so it can be killed anywhere: the next call, or
maintenance, goes on from there. Not here: what is done to a run (``operations/bulk.py``).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from mainspring.client.runs import due_at
from mainspring.client.writing import write_again
from mainspring.core.bulk import Action, Effect
from mainspring.core.durations import Duration
from mainspring.core.ids import parse_run_id
from mainspring.core.names import check_priority, check_text
from mainspring.core.states import State
from mainspring.errors import InvalidOption
from mainspring.operations import bulk
from mainspring.operations.bulk import Act, Item, Seen
from mainspring.operations.searching import Filter
from mainspring.operations.views import RunView, bound_page

if TYPE_CHECKING:
    from mainspring.client.client import Client

#: Called after each chunk with how many runs have their outcome, and how many there are.
Progress: TypeAlias = Callable[[int, int], None]
Acts: TypeAlias = list[Act]
Items: TypeAlias = list[Item]
_WRITTEN_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What an act on many runs did. ``changed`` ones had moved since the preview and were left alone; ``refused`` is by code."""

    id: str
    total: int
    done: int
    changed: int
    refused: Mapping[str, int]

    def __str__(self) -> str:
        told = [f"{self.done} of {self.total} done"]
        told += [f"{self.changed} had changed"] if self.changed else []
        told += [f"{count} refused ({code})" for code, count in self.refused.items()]
        return ", ".join(told)


class OutcomePage(NamedTuple):
    """What became of some runs of an act, and the cursor of what follows; None at the end."""

    data: Items
    next_cursor: str | None


class Selection:
    """Runs that were found, as they were then. Its methods say what an act would do to them; nothing is done yet."""

    def __init__(self, client: "Client", seen: Seen) -> None:
        self._client = client
        self._seen = seen

    def __repr__(self) -> str:
        return f"Selection({self.count} runs)"

    @property
    def count(self) -> int:
        """How many runs there are; exact up to 100,000, and never more."""
        return len(self._seen.matches)

    @property
    def is_exact(self) -> bool:
        """False: more than 100,000 match, and an act is about the newest of them."""
        return self._seen.is_exact

    @property
    def sample(self) -> tuple[RunView, ...]:
        """Up to 20 of them, the newest."""
        return self._seen.sample

    def cancel(self, reason: str | None = None) -> "Bulk":
        """Cancel them; those that run are asked to stop."""
        return self._act(Action.CANCEL, {"reason": None if reason is None else check_text(reason, "reason")})

    def retry(self) -> "Bulk":
        """Try the failed and cancelled ones again, each as a new run."""
        return self._act(Action.RETRY, {})

    def rerun(self) -> "Bulk":
        """Run those that have ended again, each as a new run."""
        return self._act(Action.RERUN, {})

    def prune(self) -> "Bulk":
        """Remove those that have ended. Open dead letters, and runs that somebody waits for, are kept."""
        return self._act(Action.PRUNE, {})

    def set_priority(self, priority: int) -> "Bulk":
        """Give those that wait another priority."""
        return self._act(Action.SET_PRIORITY, {"priority": check_priority(priority)})

    def reschedule(self, *, at: datetime | str | None = None, delay: Duration | None = None) -> "Bulk":
        """Make those that wait due at an instant, or so long from now."""
        return self._act(Action.RESCHEDULE, {"due_at": due_at(self._client, at, delay)})

    def _act(self, action: Action, options: Mapping[str, Any]) -> "Bulk":
        return Bulk(self._client, self._seen, action, options)


class Bulk:
    """An act on many runs that was previewed: how many, in which states, and what it would do. ``apply()`` does it.

    ``id`` names it for ever: ``runs.bulk.apply(id)`` goes on with one whose caller died.
    """

    def __init__(self, client: "Client", seen: Seen, action: Action, options: Mapping[str, Any]) -> None:
        self._client = client
        self._seen = seen
        self._options = dict(options)
        self._is_written = False
        self.action = action
        self.id = client.system.new_id()

    def __repr__(self) -> str:
        return f"Bulk({self.id!r}, {self.action} of {self.count} runs)"

    @property
    def count(self) -> int:
        """How many runs it is about; exact up to 100,000, and never more."""
        return len(self._seen.matches)

    @property
    def is_exact(self) -> bool:
        """False: more than 100,000 match, and this is about the newest of them."""
        return self._seen.is_exact

    @property
    def sample(self) -> tuple[RunView, ...]:
        """Up to 20 of them, the newest."""
        return self._seen.sample

    @property
    def effects(self) -> dict[State, tuple[int, Effect]]:
        """For each state how many runs are in it, and what would become of them."""
        return bulk.effects(self.action, self._seen.by_state)

    def __str__(self) -> str:
        bound = "" if self.is_exact else " (more match; these are the newest)"
        parts = [f"{count} {state}: {effect.does}{_code(effect)}" for state, (count, effect) in self.effects.items()]
        return f"{self.action} of {self.count} runs{bound}" + "".join(f"\n  {part}" for part in parts)

    def apply(self, progress: Progress | None = None) -> Result:
        """Do it, chunk by chunk, each in a transaction. A run that moved since the preview is left alone. A second call goes on
        where the first one ended, and does nothing twice."""
        self.begin()
        return _carry_out(self._client, self.id, progress)

    def begin(self, act_id: str | None = None) -> str:
        """Write down what is to be done, and leave it to others to do it: ``runs.bulk.apply(id)``, or maintenance after a minute.
        ``act_id`` names it; one that was written down under that name before stays as it is. Its id."""
        if not self._is_written:
            self.id = act_id or self.id
            self._write_down()
            self._is_written = True
        return self.id

    def _write_down(self) -> None:
        client, seen = self._client, self._seen.matches
        write = client.database
        write_again(
            write,
            "bulk.begin",
            lambda tx: bulk.begin(
                tx,
                self.id,
                namespace=client.namespace,
                action=self.action,
                options=self._options,
                actor=client.actor,
                total=len(seen),
            ),
        )
        for start in range(0, len(seen), _WRITTEN_AT_ONCE):
            some = seen[start : start + _WRITTEN_AT_ONCE]
            write_again(write, "bulk.add", lambda tx, some=some: bulk.add(tx, self.id, some))  # type: ignore[misc]
        write_again(write, "bulk.ready", lambda tx: bulk.ready(tx, self.id))


class BulkActs:
    """Acts on many runs that were begun: looking at them, and going on with one."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def list(self, *, limit: int = 50, cursor: str | None = None) -> Acts:
        """Acts, newest first; ``cursor`` is the id of the last one of the page before."""
        limit, before = bound_page(limit), parse_run_id(cursor) if cursor else None
        found: Acts = self._client.database.read(
            "bulk.list", lambda tx: bulk.listing(tx, self._client.namespace, before=before, most=limit)
        )
        return found

    def get(self, act_id: str) -> Act:
        """One act: how far it is.

        Raises:
            UnknownRun: there is none.
        """
        named = parse_run_id(act_id)
        found: Act = self._client.database.read("bulk.get", lambda tx: bulk.get(tx, named, namespace=self._client.namespace))
        return found

    def outcomes(self, act_id: str) -> Iterator[Item]:
        """What became of each run of an act, in the order of their ids."""
        named, after = parse_run_id(act_id), None
        while True:
            page: Items = self._client.database.read(
                "bulk.outcomes", lambda tx, at=after: bulk.outcomes(tx, named, namespace=self._client.namespace, after=at)
            )
            yield from page
            if not page:
                return
            after = page[-1].run_id

    def outcome_page(self, act_id: str, *, limit: int = 50, cursor: str | None = None) -> "OutcomePage":
        """What became of some runs of an act, in the order of their ids; ``cursor`` is ``next_cursor`` of the page before.

        Raises:
            UnknownRun: there is no such act.
        """
        named, after, most = parse_run_id(act_id), parse_run_id(cursor) if cursor else None, bound_page(limit)
        data: Items = self._client.database.read(
            "bulk.outcomes",
            lambda tx: bulk.outcomes(tx, named, namespace=self._client.namespace, after=after, most=most),
        )
        return OutcomePage(data, data[-1].run_id if len(data) == most else None)

    def result(self, act_id: str) -> Result:
        """What an act did so far.

        Raises:
            UnknownRun: there is none.
        """
        return _result(self._client, self.get(act_id))

    def apply(self, act_id: str, progress: Progress | None = None) -> Result:
        """Go on with an act whose caller died, to its end.

        Raises:
            UnknownRun: there is none. InvalidOption: its caller died before it was written down whole: nothing of it was done.
        """
        return _carry_out(self._client, parse_run_id(act_id), progress)


def _carry_out(client: "Client", act_id: str, progress: Progress | None) -> Result:
    act: Act = client.database.read("bulk.get", lambda tx: bulk.get(tx, act_id, namespace=client.namespace))
    if not act.is_ready:
        raise InvalidOption(f"act {act_id} was never written down whole, so nothing of it was done; preview it again", option="id")
    for step in bulk.carry_on(client.database, act_id, client.namespace):
        client.tell_work(step.queues)
        if progress is not None:
            progress(step.act.done, step.act.total)
    return _result(client, act)


def _result(client: "Client", act: Act) -> Result:
    rows: Sequence[Any] = client.database.read("bulk.summary", lambda tx: bulk.summary(tx, act.id, namespace=client.namespace))
    counts = {(outcome, code): count for outcome, code, count in rows}
    refused = {str(code): count for (outcome, code), count in counts.items() if outcome == "refused"}
    done, changed = counts.get(("done", None), 0), counts.get(("changed", None), 0)
    return Result(id=act.id, total=act.total, done=done, changed=changed, refused=refused)


def _code(effect: Effect) -> str:
    return f" ({effect.refused})" if effect.refused else ""


def look(client: "Client", wanted: Filter) -> Selection:
    """What a filter matches at this moment."""
    seen: Seen = client.database.read("bulk.look", lambda tx: bulk.look(tx, client.namespace, wanted))
    return Selection(client, seen)
