"""A batch: many runs, and one more that starts when the last of them has ended."""

from collections.abc import Sequence
from typing import Literal

from mainspring.operations.enqueue import NewRun, insertion
from mainspring.operations.moves import start_callback
from mainspring.store.database import Transaction

FiresOn = Literal["done", "all_succeeded"]


def create(
    tx: Transaction,
    batch_id: str,
    members: Sequence[NewRun],
    callback: NewRun | None,
    *,
    namespace: str,
    fires_on: FiresOn,
) -> None:
    """Create a batch with its members and its callback, all or nothing. An empty batch starts its callback at once."""
    callback_id = callback.id if callback else None
    params = {"id": batch_id, "namespace": namespace, "total": len(members)}
    tx.execute("batches.create", **params, fires_on=fires_on, callback_id=callback_id)
    query = insertion([*members, *([callback] if callback else [])])
    tx.execute(query.statement, **query.params)
    if callback_id and not members:
        start_callback(tx, callback_id, wanted=True)
