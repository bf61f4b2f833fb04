"""The payloads of runs that are copied behind a retry: where they take the result of a run that is copied too, the new one's."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mainspring import codec
from mainspring.operations.reviving import Behind

if TYPE_CHECKING:
    from mainspring.client.client import Client


def copies(client: "Client", source: str, new_id: str, found: Sequence[Behind]) -> dict[str, tuple[str, bytes]]:
    """For each run that is to be copied the id of its copy, and its payload.

    Raises:
        ValueUnreadable: one cannot be opened; nothing was created.
    """
    ids = {source: new_id} | {each.run_id: client.system.new_id() for each in found}
    return {each.run_id: (ids[each.run_id], _payload(client, each, ids)) for each in found}


def _payload(client: "Client", each: Behind, ids: Mapping[str, str]) -> bytes:
    keeping = client.keeping
    inputs, body = codec.split_inputs(keeping.read_payload(each.body, task=each.task))
    if not inputs:
        return each.body
    renamed = codec.with_inputs(body, {name: ids.get(run_id, run_id) for name, run_id in inputs.items()})
    if keeping.is_plain:
        return renamed
    return keeping.keep_payload(renamed, task=each.task, run_id=ids[each.run_id], keyed=each.is_singleton)
