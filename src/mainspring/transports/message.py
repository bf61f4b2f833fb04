"""What travels: names and an instant, never a payload, never a state. Here: the message, its bytes, the refusal of what is none."""

from dataclasses import dataclass

import msgspec

from mainspring.core.ids import parse_run_id
from mainspring.core.names import check_name
from mainspring.errors import CallerMistake

LARGEST = 4096
_LONGEST_TRACE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """There may be work in ``queue``; with ``run_id``, this run may be claimed. ``at`` is when it was said, UTC microseconds.

    Whoever gets one looks at the database, and believes that. ``trace`` is the W3C trace context of the run, where it has one.
    """

    namespace: str
    queue: str
    at: int
    run_id: str | None = None
    trace: str | None = None

    def encode(self) -> bytes:
        """The message as bytes: JSON of at most 4 KiB, with names as short as they are plain."""
        return _encode(_Wire(self.namespace, self.queue, self.at, self.run_id, self.trace))

    @classmethod
    def decode(cls, data: bytes | str) -> "Message | None":
        """The message that ``data`` is; None for whatever is no message of ours: those are ignored, wherever they come from."""
        if len(data) > LARGEST:
            return None
        try:
            wire = _decode(data)
            return cls(
                namespace=check_name(wire.namespace, "namespace"),
                queue=check_name(wire.queue, "queue"),
                at=wire.at,
                run_id=None if wire.run is None else parse_run_id(wire.run),
                trace=None if wire.trace is None or len(wire.trace) > _LONGEST_TRACE else wire.trace,
            )
        except (msgspec.MsgspecError, CallerMistake, UnicodeDecodeError):
            return None


class _Wire(msgspec.Struct, omit_defaults=True):
    namespace: str
    queue: str
    at: int
    run: str | None = None
    trace: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Wire).decode
