"""Between rows and values: a run from its columns, event data as text. Nothing that asks or decides."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mainspring.core.run import Run
from mainspring.core.states import State

_encode = msgspec.json.Encoder().encode


def encode_data(data: Mapping[str, Any] | None) -> str | None:
    """Event data as the ledger stores it."""
    return _encode(data).decode() if data else None


def as_run(row: Sequence[Any]) -> Run:
    """A row of ``runs``, in column order."""
    return Run(
        id=row[0],
        lane_id=row[1],
        policy_id=row[2],
        state=State(row[3]),
        reason=row[4],
        due_at=row[5],
        token=row[6],
        seq=row[7],
        failures=row[8],
        interruptions=row[9],
        releases=row[10],
        payload_seq=row[11],
        worker_id=row[12],
        idempotency_key=row[13],
        singleton_key=row[14],
        batch_id=row[15],
        rerun_of=row[16],
        expires_at=row[17],
        deadline_at=row[18],
        cancel_requested_at=row[19],
        created_at=row[20],
        ended_at=row[21],
    )
