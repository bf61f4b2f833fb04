"""Whether the code at hand can read what waits: the deploy gate behind ``mainspring task check``. It changes nothing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mainspring.client import Client
from mainspring.codec import PayloadSchema, decode_json, split_inputs
from mainspring.errors import PayloadInvalid, UnknownTask, ValueUnreadable
from mainspring.operations.payloads import WaitingPayload, waiting
from mainspring.registry import Registry
from mainspring.runtime.outcomes import current


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A run that waits and whose payload this code cannot read."""

    run_id: str
    task: str
    version: int
    problem: str


@dataclass(slots=True)
class Check:
    """What a look at everything that waits found. Runs of tasks that this app has not, and of newer versions than it knows, are
    left to other workers: they are counted, and are no problem."""

    read: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    of_others: dict[str, int] = field(default_factory=dict)
    newer: dict[str, int] = field(default_factory=dict)


def check_waiting(client: Client, registry: Registry, *, most: int = 1000) -> Check:
    """Decode the payload of every run that waits, and stop once ``most`` cannot be read.

    Raises:
        StorageUnavailable: of the database or the blob store.
    """
    found = Check()
    for each in waiting(client.database.read, client.namespace):
        _look(client, registry, each, found)
        if len(found.unreadable) >= most:
            break
    return found


def _look(client: Client, registry: Registry, each: WaitingPayload, found: Check) -> None:
    lane = each.lane
    try:
        spec = registry.get(lane.task)
    except UnknownTask:
        found.of_others[lane.task] = found.of_others.get(lane.task, 0) + 1
        return
    if lane.version > spec.version:
        found.newer[lane.task] = found.newer.get(lane.task, 0) + 1
        return
    try:
        inputs, body = split_inputs(client.keeping.read_payload(each.body or b"{}", task=lane.task))
        if not inputs:
            spec.schema.decode(current(spec, body, lane.version))
        elif lane.version == spec.version:  # an older one can be upcast only when what is to come into it is there
            _look_at_parts(spec.schema, decode_json(body), inputs)
        found.read += 1
    except (PayloadInvalid, ValueUnreadable) as error:
        told = client.keeping.redactor.text(error.message)
        found.unreadable.append(Unreadable(run_id=each.run_id, task=lane.task, version=lane.version, problem=told))


def _look_at_parts(schema: PayloadSchema, members: Mapping[str, Any], inputs: Iterable[str]) -> None:
    """See whether a payload into which results are to come fits without them.

    Raises:
        PayloadInvalid: it does not.
    """
    unknown = sorted({*members, *inputs} - set(schema.fields))
    wrong = [found for name, value in members.items() if name in schema.fields and (found := schema.misfit(name, value))]
    wrong += [{"field": name, "message": f"{schema.function} has no such parameter"} for name in unknown]
    if wrong:
        told = "; ".join(f"{entry['field']}: {entry['message']}" for entry in wrong)
        raise PayloadInvalid(f"the stored payload does not fit {schema.function}: {told}", errors=wrong)
