"""From what user code did to an outcome: its result, its signals and its exceptions, bounded to what a database keeps.

Used by both halves of the executor: the worker's process and its children. Not here: running user code, and what an outcome
means once an attempt was asked to stop (``executor``).
"""

import traceback
from collections.abc import Callable, Sequence
from typing import Any

from mainspring import codec
from mainspring.context import Context
from mainspring.core.attempts import Failed, GaveItselfBack, Interrupted, Outcome, Stopped, Succeeded, Unworkable
from mainspring.core.durations import parse_duration, parse_instant
from mainspring.errors import (
    Cancelled,
    CommitUnknown,
    Fail,
    InvalidOption,
    LeaseLost,
    MainspringError,
    PayloadInvalid,
    Release,
    ResultInvalid,
    ResultTooLarge,
    Retry,
    StorageConflict,
    StorageUnavailable,
    TaskSignal,
)

MESSAGE_BYTES = 4096
_TRACEBACK_BYTES = 16_384
_NOTE_BYTES = 40
_NAME_BYTES = 200


class UnreadablePayloadError(Exception):
    """The payload cannot be read by this code."""


def arguments(schema: codec.PayloadSchema, context: Context, body: bytes | None) -> Sequence[Any]:
    """Positional arguments in the order of the function's parameters, the context where it belongs."""
    try:
        values = schema.decode(body or b"{}")
    except PayloadInvalid as error:
        raise UnreadablePayloadError(error.message) from None
    return schema.with_context(values, context)


def returned(result: Any) -> Outcome:
    """What a task returned; a returned signal means what a raised one does."""
    if isinstance(result, TaskSignal):
        return raised(result)
    try:
        return Succeeded(codec.encode_result(result))
    except (ResultInvalid, ResultTooLarge) as error:
        return Failed(code=error.code, message=bounded(error.message, MESSAGE_BYTES), final=True)


def raised(error: BaseException) -> Outcome:
    """What an exception of user code means for the attempt."""
    try:
        return _meant(error)
    except InvalidOption as unreadable:  # a signal whose delay or instant is no such thing is a mistake of the task
        return _unexpected(unreadable)


def _meant(error: BaseException) -> Outcome:
    match error:
        case Retry():
            after = None if error.after is None else parse_duration(error.after, option="after")
            return Failed(code=error.code, message=bounded(error.message, MESSAGE_BYTES), type="Retry", after_us=after)
        case Fail():
            return Failed(code=error.code, message=bounded(error.message, MESSAGE_BYTES), type="Fail", final=True)
        case Release():
            return _released(error)
        case Cancelled() | LeaseLost():
            return Stopped()
        case StorageUnavailable() | StorageConflict() | CommitUnknown():  # the world's trouble spends no failure of the task's
            return Interrupted(error.code)
        case UnreadablePayloadError():
            return Unworkable("invalid_payload", bounded(str(error), MESSAGE_BYTES))
        case _:
            return _unexpected(error)


def _released(signal: Release) -> Outcome:
    reason = bounded(signal.reason, 200) or None
    if signal.until is not None:
        return GaveItselfBack(until=parse_instant(signal.until, option="until"), reason=reason)
    return GaveItselfBack(after_us=parse_duration(signal.after or 0, option="after"), reason=reason)


def _unexpected(error: BaseException) -> Failed:
    return Failed(
        code=error.code if isinstance(error, MainspringError) else "error",
        message=bounded(_told(lambda: str(error)), MESSAGE_BYTES),
        type=bounded(type(error).__qualname__, _NAME_BYTES),
        traceback=bounded(_told(lambda: "".join(traceback.format_exception(error))), _TRACEBACK_BYTES),
    )


def _told(tell: Callable[[], str]) -> str:
    """What an exception says of itself, for some cannot even do that."""
    try:
        return tell()
    except BaseException as error:  # noqa: BLE001  (code of the user's again: its __str__)
        return f"(an exception that cannot be printed: its text raised {type(error).__qualname__})"


def bounded(text: str, most: int) -> str:
    """Text that every database can store: no NUL, no lone surrogate, at most ``most`` bytes, head and tail kept."""
    clean = text.replace("\x00", "\ufffd").encode("utf-8", "replace")
    if len(clean) <= most:
        return clean.decode("utf-8", "replace")
    room = most - _NOTE_BYTES
    head, tail = room * 2 // 3, room // 3
    cut = clean[:head].decode("utf-8", "ignore") + f" … [{len(clean) - head - tail} bytes left out] … "
    return cut + clean[-tail:].decode("utf-8", "ignore")
