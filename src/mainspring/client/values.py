"""What a run was given and what it came to, for people and programs that have neither its code nor its keys."""

from dataclasses import dataclass
from typing import Any

import msgspec

from mainspring.codec import Keeping, described, is_wrapped
from mainspring.core.states import State
from mainspring.operations import views
from mainspring.store.database import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The payload of a run; its result, if it succeeded; and what is told of its failure, if it failed."""

    payload: Any
    result: Any
    failure: dict[str, Any] | None


def values_of(tx: Transaction, namespace: str, run_id: str, keeping: Keeping) -> Values:
    """Both, as they are stored.

    Raises:
        UnknownRun: there is none of that id in this namespace.
    """
    run = views.get(tx, namespace, run_id).run
    row = tx.one("runs.payload", id=run.id)
    last = views.endings(tx, [run.id])[run.id]
    failed = last.state in {State.FAILED, State.UPSTREAM_FAILED}
    return Values(
        payload=stored(row[1]) if row is not None else None,
        result=stored(last.body) if last.state is State.SUCCEEDED else None,
        failure=dict(keeping.read_told(last.data, run_id=run.id)) if failed else None,
    )


def stored(body: bytes | None) -> Any:
    """What a stored body says: its JSON, or its text where it is none; of what is sealed or elsewhere, only that."""
    if body is None:
        return None
    if is_wrapped(body):
        return described(body)
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body.decode(errors="replace")
