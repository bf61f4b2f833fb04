"""Reading the payload of a run that is to run again as its task reads payloads today, and keeping it for the new run."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from mainspring import codec
from mainspring.core.lanes import Lane
from mainspring.errors import PayloadInvalid, UnknownTask, shown
from mainspring.operations.runs import Payload

if TYPE_CHECKING:
    from mainspring.client.client import Client


class KnownTask(Protocol):
    """What is known of a task where its code is: how its payloads are read."""

    @property
    def schema(self) -> codec.PayloadSchema: ...
    @property
    def upcasters(self) -> codec.Upcasters: ...
    @property
    def version(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...


#: A task by its name; raises ``UnknownTask``.
FindTask: TypeAlias = Callable[[str], KnownTask]


def renewed(client: "Client", source: Payload, payload: Mapping[str, Any] | None, new_id: str) -> tuple[bytes | None, Lane | None]:
    """The stored payload and the lane of a new run, where they are not those of the source.

    Where the task's code is at hand, the payload is brought to its version and validated; elsewhere a new payload is kept as it is,
    and its worker validates it.

    Raises:
        PayloadInvalid, PayloadTooLarge: it does not fit; nothing was created. ValueUnreadable: the old one cannot be opened.
    """
    if payload is not None and not isinstance(payload, Mapping):
        raise PayloadInvalid(
            f'payload= must name the arguments, such as {{"to": "a@b"}}, not {shown(payload)}',
            errors=[{"field": "$", "message": "not a mapping"}],
        )
    task = _task(client, source.lane.task)
    keeping = client.keeping
    if payload is None and (task is None or _has_inputs(client, source)):
        return None, None  # its worker reads it as it is; results of other runs come into it only then
    if task is None:
        body = codec.encode_json(payload, what="payload", largest=keeping.largest)
        lane = None
    else:
        body = task.schema.encode((), payload) if payload is not None else _read(keeping, source, task)
        lane = replace(source.lane, version=task.version, fingerprint=task.fingerprint, salt=0)
    if not keeping.is_plain:
        body = keeping.keep_payload(body, task=source.lane.task, run_id=new_id, keyed=source.singleton_key is not None)
    return body, lane


def _has_inputs(client: "Client", source: Payload) -> bool:
    return codec.has_inputs(client.keeping.read_payload(source.body, task=source.lane.task))


def _task(client: "Client", name: str) -> KnownTask | None:
    if client.find_task is None:
        return None
    try:
        return client.find_task(name)
    except UnknownTask:
        return None


def _read(keeping: codec.Keeping, source: Payload, task: KnownTask) -> bytes:
    """The old payload as the task reads it now, validated."""
    body = keeping.read_payload(source.body, task=source.lane.task)
    if source.lane.version < task.version:
        body = task.upcasters.upcast(body, source.lane.version)
    return task.schema.encode(task.schema.decode(body), {})
