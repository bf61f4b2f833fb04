"""From a claim to arguments, and from what user code did to an outcome: its result, its signals and its exceptions, readable by
the worker and as the app keeps them.

``opened`` and ``kept`` are the two ends: values come out of the database's form, and go back into it, in the worker's process.
``arguments``, ``returned`` and ``raised`` are between them, and also used in its children. Not here: running user code, and what
an outcome means once an attempt was asked to stop (``executor``).
"""

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from mainspring import codec
from mainspring.codec import Keeping
from mainspring.context import Context
from mainspring.core.attempts import Dropped, Failed, GaveItselfBack, Interrupted, Outcome, Stopped, Succeeded, Unworkable
from mainspring.core.durations import parse_duration, parse_instant
from mainspring.core.retry import Kinds
from mainspring.core.signals import Cancelled, Fail, RateLimited, Release, Retry, Skip, TaskSignal
from mainspring.errors import (
    CommitUnknown,
    InvalidOption,
    LeaseLost,
    MainspringError,
    PayloadInvalid,
    PayloadTooLarge,
    ResultInvalid,
    ResultTooLarge,
    StorageConflict,
    StorageUnavailable,
    ValueUnreadable,
)
from mainspring.operations.claims import Claimed
from mainspring.registry import TaskSpec
from mainspring.runtime.worker import Assignment

log = logging.getLogger("mainspring")

MESSAGE_BYTES = 4096
_TRACEBACK_BYTES = 16_384
_RAW_LENGTH = 1024 * 1024  # what is looked through for secrets; far more than is kept, so that no secret is cut before it is seen
_REASON_BYTES = 200
_NOTE_BYTES = 40
_NAME_BYTES = 200

#: Types of failures whose message the task itself chose.
_TASK_FACING = frozenset({"Retry", "Fail"})
_EVERY = Kinds()
_WITHHELD = "the task keeps no text of its failures"


#: Finds the results of ended runs, as JSON; ``null`` of one that did not succeed.
Results = Callable[[Sequence[str]], Mapping[str, bytes]]


class UnreadablePayloadError(Exception):
    """The payload cannot be read by this code."""


# -- what a claim holds ----------------------------------------------------------------------------------------------


def is_as_stored(spec: TaskSpec, assignment: Assignment) -> bool:
    """Whether the payload and the checkpoint can be used as they were claimed: the common case."""
    lane = assignment.lane
    return (
        lane.version == spec.version
        and not codec.is_wrapped(assignment.claimed.body)
        and not codec.is_wrapped(assignment.checkpoint)
    )


def opened(keeping: Keeping, spec: TaskSpec, assignment: Assignment, results: Results | None = None) -> Assignment:
    """The claim with its payload as this version of the task wants it, and its checkpoint, both as JSON. May block, and may run
    upcasters of the user's. ``results`` finds those of other runs that are to come into the payload.

    Raises:
        UnreadablePayloadError: this code cannot read it. StorageUnavailable: the blob store cannot be used.
    """
    claimed, lane, checkpoint = assignment.claimed, assignment.lane, assignment.checkpoint
    try:
        inputs, body = codec.split_inputs(keeping.read_payload(claimed.body or b"{}", task=lane.task))
        if inputs and results is not None:
            found = results(sorted(set(inputs.values())))
            body = codec.complete(body, {name: found[run_id] for name, run_id in inputs.items()})
        if checkpoint is not None:
            checkpoint = keeping.read_checkpoint(checkpoint, run_id=claimed.id)
        body = current(spec, body, lane.version)
    except (ValueUnreadable, PayloadInvalid) as error:
        raise UnreadablePayloadError(error.message) from error
    return assignment._replace(claimed=claimed._replace(body=body), checkpoint=checkpoint)


def current(spec: TaskSpec, body: bytes, version: int) -> bytes:
    """A payload of some version as one of the task's own.

    Raises:
        PayloadInvalid: a step is missing or failed, or the payload is newer than this code.
    """
    if version == spec.version:
        return body
    if version > spec.version:
        told = f"it is of version {version} of {spec.name}, and this code knows {spec.version}; deploy the newer code here"
        raise PayloadInvalid(told, errors=[{"field": "$", "message": told}])
    return spec.upcasters.upcast(body, version)


def arguments(schema: codec.PayloadSchema, context: Context | None, body: bytes | None) -> Sequence[Any]:
    """Positional arguments in the order of the function's parameters, the context where it belongs (None: nowhere)."""
    try:
        values = schema.decode(body or b"{}")
    except PayloadInvalid as error:
        raise UnreadablePayloadError(error.message) from None
    return schema.with_context(values, context)


# -- what user code did ----------------------------------------------------------------------------------------------


def returned(result: Any, schema: codec.PayloadSchema | None = None) -> Outcome:
    """What a task returned; a returned signal means what a raised one does."""
    if isinstance(result, TaskSignal):
        return raised(result, schema=schema)
    try:
        return Succeeded(codec.encode_result(result, largest=codec.LARGEST_STORED))
    except (ResultInvalid, ResultTooLarge) as error:
        return _refused(error)


def raised(
    error: BaseException, values: Sequence[Any] = (), *, schema: codec.PayloadSchema | None = None, kinds: Kinds = _EVERY
) -> Outcome:
    """What an exception of user code means for the attempt. Secrets among its arguments (``values``) are hidden in what it says.

    ``schema`` is what a payload given back must fit; ``kinds`` says which errors are tried again.
    """
    try:
        outcome = _meant(error, schema)
    except InvalidOption as unreadable:  # a signal whose delay or instant is no such thing is a mistake of the task
        outcome = _unexpected(unreadable)
    except (PayloadInvalid, PayloadTooLarge) as unfit:
        outcome = Failed(code=unfit.code, message=_raw(f"the payload given back: {unfit.message}"), final=True)
    if isinstance(outcome, Failed) and not isinstance(error, TaskSignal) and not kinds.retries(type(error)):
        outcome = replace(outcome, final=True)
    return _without(outcome, values) if values and isinstance(outcome, Failed) else outcome


def _without(failed: Failed, values: Sequence[Any]) -> Failed:
    for secret in codec.secrets_within(values):
        trace = failed.traceback
        hidden = trace if trace is None else trace.replace(secret, "***")
        failed = replace(failed, message=failed.message.replace(secret, "***"), traceback=hidden)
    return failed


def _meant(error: BaseException, schema: codec.PayloadSchema | None) -> Outcome:
    match error:
        case Retry():
            after = None if error.after is None else parse_duration(error.after, option="after")
            return Failed(code=error.code, message=_raw(error.message), type="Retry", after_us=after)
        case Fail():
            return Failed(code=error.code, message=_raw(error.message), type="Fail", final=True)
        case Skip():
            return Dropped(bounded(error.reason, _REASON_BYTES))
        case Release():
            return _released(error, schema)
        case Cancelled() | LeaseLost():
            return Stopped()
        case StorageUnavailable() | StorageConflict() | CommitUnknown():  # the world's trouble spends no failure of the task's
            return Interrupted(error.code)
        case UnreadablePayloadError():
            return Unworkable("invalid_payload", _raw(str(error)))
        case _:
            return _unexpected(error)


def _released(signal: Release, schema: codec.PayloadSchema | None) -> Outcome:
    return GaveItselfBack(
        after_us=parse_duration(signal.after or 0, option="after"),
        until=None if signal.until is None else parse_instant(signal.until, option="until"),
        reason=bounded(signal.reason, _REASON_BYTES) or None,
        payload=_new_payload(signal.payload, schema),
        in_a_row=int(signal.immediately),
        closes=(signal.limit or "") if isinstance(signal, RateLimited) else None,
    )


def _new_payload(payload: Mapping[str, Any] | tuple[Any, ...] | None, schema: codec.PayloadSchema | None) -> bytes | None:
    if payload is None or schema is None:
        return None
    return schema.encode((), payload) if isinstance(payload, Mapping) else schema.encode(payload, {})


def _unexpected(error: BaseException) -> Failed:
    return Failed(
        code=error.code if isinstance(error, MainspringError) else "error",
        message=_raw(_told(lambda: str(error))),
        type=bounded(type(error).__qualname__, _NAME_BYTES),
        traceback=_raw(_told(lambda: "".join(traceback.format_exception(type(error), error, _theirs(error))))),
    )


def _theirs(error: BaseException) -> TracebackType | None:
    """Where an exception came from, from the task's own function on: what called that is the same each time."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("mainspring.runtime."):
        trace = trace.tb_next
    return trace or error.__traceback__


def _refused(error: ResultInvalid | ResultTooLarge) -> Failed:
    return Failed(code=error.code, message=_raw(error.message), final=True)


def _told(tell: Callable[[], str]) -> str:
    """What an exception says of itself, for some cannot even do that."""
    try:
        return tell()
    except BaseException as error:  # noqa: BLE001  (code of the user's again: its __str__)
        return f"(an exception that cannot be printed: its text raised {type(error).__qualname__})"


# -- as the app keeps it ---------------------------------------------------------------------------------------------


def may_block(keeping: Keeping, outcome: Outcome) -> bool:
    """Whether keeping this outcome goes to the blob store."""
    body = outcome.result if isinstance(outcome, Succeeded) else outcome.payload if isinstance(outcome, GaveItselfBack) else None
    return keeping.blobs is not None and len(body or b"") > keeping.inline


def kept(keeping: Keeping, spec: TaskSpec, run: Claimed, outcome: Outcome) -> Outcome:
    """An outcome as the database keeps it: the result sealed or moved, texts redacted, bounded and sealed. May block.

    Raises:
        StorageUnavailable: the blob store cannot be used.
    """
    match outcome:
        case Succeeded(result) if result is not None and not (keeping.is_plain and len(result) <= keeping.largest):
            try:
                return Succeeded(keeping.keep_result(result, run_id=run.id, token=run.token))
            except ResultTooLarge as error:
                return kept(keeping, spec, run, _refused(error))
        case Failed():
            told = _redacted(keeping, spec, outcome)
            log.warning("run %s: %s failed (%s)%s", run.id, spec.name, outcome.code, _shown(keeping, *told))
            message, trace = keeping.keep_told(*told, run_id=run.id)
            kind = None if spec.failure_detail == "code" and outcome.type not in _TASK_FACING else outcome.type
            return replace(outcome, message=message, traceback=trace, type=kind)
        case Unworkable(code, message):
            told = _redacted(keeping, spec, Failed(code=code, message=message))
            log.warning("run %s: %s needs attention (%s)%s", run.id, spec.name, code, _shown(keeping, *told))
            message, _ = keeping.keep_told(*told, run_id=run.id)
            return Unworkable(code, message)
        case GaveItselfBack():
            return _kept_release(keeping, spec, run, outcome)
        case Dropped(reason):
            return Dropped(bounded(keeping.redactor.text(reason), _REASON_BYTES))
        case _:
            return outcome


def _kept_release(keeping: Keeping, spec: TaskSpec, run: Claimed, back: GaveItselfBack) -> Outcome:
    reason = None if back.reason is None else bounded(keeping.redactor.text(back.reason), _REASON_BYTES)
    if back.payload is None:
        return replace(back, reason=reason)
    task = spec.name if back.lane is None else back.lane.task
    try:
        payload = keeping.keep_payload(back.payload, task=task, run_id=run.id, keyed=False, token=run.token)
    except PayloadTooLarge as error:
        return kept(keeping, spec, run, Failed(code=error.code, message=_raw(error.message), final=True))
    return replace(back, reason=reason, payload=payload)


def _redacted(keeping: Keeping, spec: TaskSpec, failed: Failed) -> tuple[str, str | None]:
    message, trace = failed.message, failed.traceback
    if spec.failure_detail == "code":
        message, trace = message if failed.type in _TASK_FACING else _WITHHELD, None
    message = bounded(keeping.redactor.text(message), MESSAGE_BYTES)
    trace = None if trace is None else bounded(keeping.redactor.text(trace), _TRACEBACK_BYTES)
    return message, trace


def _shown(keeping: Keeping, message: str, trace: str | None) -> str:
    """What the log may tell of a failure: nothing but its code where the database has it sealed."""
    if keeping.codec is not None:
        return ""
    return f": {message}" + ("" if trace is None else f"\n{trace.rstrip()}")


def bounded(text: str, most: int) -> str:
    """Text that every database can store: no NUL, no lone surrogate, at most ``most`` bytes, head and tail kept."""
    clean = text.replace("\x00", "\ufffd").encode("utf-8", "replace")
    if len(clean) <= most:
        return clean.decode("utf-8", "replace")
    room = most - _NOTE_BYTES
    head, tail = room * 2 // 3, room // 3
    cut = clean[:head].decode("utf-8", "ignore") + f" … [{len(clean) - head - tail} bytes left out] … "
    return cut + clean[-tail:].decode("utf-8", "ignore")


def _raw(text: str) -> str:
    """Text to be looked through for secrets, and bounded after that. Of one that is huge the middle goes, with the word at the
    cut: it may be the end of a secret whose beginning nobody sees any more."""
    if len(text) <= _RAW_LENGTH:
        return text
    head, tail = text[: _RAW_LENGTH * 2 // 3], text[-_RAW_LENGTH // 3 :]
    _, _, rest = tail.partition(" ")
    return f"{head}… [{len(text) - len(head) - len(rest)} characters left out] … {rest}"
