"""Schedules from files: what applying would change, applying it, and writing files from what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mainspring.client.definitions import Allow
from mainspring.client.schedule_entries import Entries, read_entries
from mainspring.client.targeting import default_policy
from mainspring.client.writing import write_again
from mainspring.codec.strict_yaml import refusal, write_yaml
from mainspring.core.launch import TARGETS
from mainspring.core.names import check_name
from mainspring.core.schedule_file import entry_of
from mainspring.errors import ScheduleConflict
from mainspring.operations import schedule_files
from mainspring.operations.schedule_files import Planned, Step
from mainspring.store.database import Transaction

if TYPE_CHECKING:
    from mainspring.client.client import Client


class ScheduleFiles:
    """Sets of schedules that files own. ``texts`` is what each file says, by its name; ``set`` is who owns what they name."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def diff(self, texts: Mapping[str, str], *, set: str, prune: bool = False) -> list[Step]:
        """What applying would do to each schedule: fields, conflicts, the next 50 instants before and after. Nothing is written.

        Raises:
            FileInvalid: everything that is wrong, each with its file, line and column.
        """
        client, owner, read = self._client, check_name(set, "set"), read_entries(self._client, texts)

        def look(tx: Transaction) -> Planned:
            return schedule_files.plan(tx, read.wanted, namespace=client.namespace, set_name=owner, prune=prune)

        return _sound(client.database.read("schedule_files.diff", look), read).steps

    def apply(
        self, texts: Mapping[str, str], *, set: str, prune: bool = False, allow_large: bool = False, force: bool = False,
        allow: Allow | None = None,
    ) -> list[Step]:  # fmt: skip
        """Make the set what its files say, in one transaction: create, rename, update by name, and with ``prune`` delete what the
        set owns and files lack. What says so already is left alone, and so are pauses and cursors. ``allow`` is asked of each kind
        of target that is not a task.

        Raises:
            FileInvalid: everything that is wrong, each with its place. Nothing was written.
            ScheduleConflict: a field was changed by hand, or a schedule is another owner's, and not ``force``.
            InvalidOption: more than half of the set would be deleted, and not ``allow_large``.
        """
        client, owner, read = self._client, check_name(set, "set"), read_entries(self._client, texts)
        if allow is not None:
            for kind in sorted({each.target.lane.task for each in read.wanted} & {*TARGETS}):
                allow(kind)

        def act(tx: Transaction) -> Planned:
            return schedule_files.apply(
                tx, read.wanted, namespace=client.namespace, set_name=owner, actor=client.actor, prune=prune,
                allow_large=allow_large, force=force,
            )  # fmt: skip

        made = _sound(write_again(client.database, "schedule_files.apply", act), read)
        if not force:
            _check_conflicts(made.steps)
        return made.steps

    def export(self, *, set: str | None = None) -> str:
        """A file that says what the schedules of a set (None: of the namespace) say. Applying it changes nothing."""
        owner = None if set is None else check_name(set, "set")

        def look(tx: Transaction) -> list[dict[str, object]]:
            found = schedule_files.exported(tx, namespace=self._client.namespace, set_name=owner)
            return [entry_of(name, said, default_policy(said.task)) for name, said in found]

        return write_yaml({"version": 1, "schedules": self._client.database.read("schedule_files.export", look)})


def _sound(made: Planned, read: Entries) -> Planned:
    if made.is_stopped:
        raise refusal([read.told(step.name, step.problem) for step in made.steps if step.problem is not None])
    return made


def _check_conflicts(steps: Sequence[Step]) -> None:
    found = [{"name": step.name, "field": each.field, "message": each.told} for step in steps for each in step.conflicts]
    if found:
        told = "; ".join(f"{each['name']}: {each['field']}: {each['message']}" for each in found[:5])
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise ScheduleConflict(f"{told}{more}. Nothing was written; force overwrites it", errors=found)
