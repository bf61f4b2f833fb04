"""The outbox: a run that was chosen beside a caller's data in another database, and how it becomes one here, once.

The run id is chosen when the row is written, so moving the row twice makes one run. Not here: their SQL (``store/outbox``), and the
loop that moves rows (``runtime/outboxing``).
"""

from typing import Any, NamedTuple

import msgspec

from mainspring.core.lanes import Lane
from mainspring.errors import InvalidOption
from mainspring.operations.lanes import as_lane, as_row


class Chosen(NamedTuple):
    """A run as an outbox row holds it: all instants are absolute, and the payload is as it will be read."""

    run_id: str
    lane: Lane
    policy: tuple[int, str]
    body: bytes
    fields: dict[str, Any]


class _Row(msgspec.Struct):
    lane: list[Any]
    policy: tuple[int, str]
    body: bytes
    fields: dict[str, Any]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Row).decode


def encode(chosen: Chosen) -> str:
    """The text of a row.

    Raises:
        InvalidOption: an option that cannot wait in an outbox.
    """
    strange = [name for name, value in chosen.fields.items() if not isinstance(value, str | int | None | tuple)]
    if strange:
        raise InvalidOption(f"{strange[0]}= cannot wait in an outbox; enqueue such runs directly", option=strange[0])
    return _encode(_Row(list(as_row(chosen.lane)), chosen.policy, chosen.body, chosen.fields)).decode()


def decode(run_id: str, text: str) -> Chosen:
    """What ``encode`` wrote.

    Raises:
        ValueError: the text is none of ours.
    """
    row = _decode(text)
    fields = {name: _tuples(value) for name, value in row.fields.items()}
    return Chosen(run_id, as_lane(row.lane), row.policy, row.body, fields)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
