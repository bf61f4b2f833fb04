"""What passes between the code of a workflow and its ledger: inputs that the code sees, commands that it makes, and how it ended.

Here: values, and the errors that code or its replay may meet. Not here: the loop that runs the code (``loop``), what makes commands
of it (``replay``), or anything that stores them: payloads are bytes, and stay so.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from mainspring.errors import CallerMistake


class InputType(StrEnum):
    """What the code can see of its ledger; all other events are none of its business."""

    CREATED = "created"
    STEP_RECORDED = "step_recorded"
    STEP_SUCCEEDED = "step_succeeded"
    STEP_FAILED = "step_failed"
    TIMER_FIRED = "timer_fired"
    SIGNAL_RECEIVED = "signal_received"
    CANCEL_REQUESTED = "cancel_requested"


class Kind(StrEnum):
    """What the code can ask for."""

    ACTIVITY = "activity"
    INLINE = "inline"
    TIMER = "timer"
    WAIT = "wait"
    VALUE = "value"
    CANCEL_STEP = "cancel_step"
    CANCEL_TIMER = "cancel_timer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a step ended that has no result; ``attempts`` were made."""

    reason: str
    message: str
    type: str | None = None
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One event that the code sees. ``ordinal`` is the step, timer or wait it is about; ``name`` and ``body`` are those of a
    signal, and ``body`` the result of a step. ``at`` is its instant, in µs."""

    seq: int
    type: InputType
    at: int
    ordinal: int | None = None
    name: str = ""
    body: bytes = b""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One thing the code asked for: number ``ordinal`` of its life, made when the input ``cause`` was delivered.

    ``delay_us`` is how long a timer runs, or a wait lasts at most; ``taken`` the ``seq`` of the signal that a wait found there
    already; ``target`` the ordinal of what is cancelled. ``where`` is the line that asked: told, never compared.
    """

    ordinal: int
    cause: int
    kind: Kind
    name: str = ""
    body: bytes = b""
    delay_us: int | None = None
    taken: int | None = None
    target: int | None = None
    where: str = field(default="", compare=False)

    def __str__(self) -> str:
        match self.kind:
            case Kind.TIMER:
                return f"timer of {(self.delay_us or 0) / 1e6:g} s"
            case Kind.CANCEL_STEP | Kind.CANCEL_TIMER:
                return f"{self.kind.replace('_', ' ')} {self.target}"
            case Kind.WAIT:
                return f"wait for signal {self.name!r}"
            case _:
                return f"{self.kind} {self.name}".rstrip()


class EndsAs(StrEnum):
    """The ways in which the code of a workflow can end."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The main function is over. ``value`` is what it returned, ``error`` what it raised."""

    state: EndsAs
    value: object = None
    error: BaseException | None = None


class StepFailed(Exception):  # noqa: N818  (it says what happened, as our errors do)
    """Raised in a workflow by a step that ended for good without a result."""

    def __init__(self, name: str, failure: Failure) -> None:
        super().__init__(f"step {name!r} failed ({failure.reason}) after {failure.attempts} attempts: {failure.message}")
        self.name = name
        self.reason = failure.reason
        self.type = failure.type
        self.message = failure.message
        self.attempts = failure.attempts


class NotInWorkflow(CallerMistake):
    """A workflow did something that its replay could not repeat. Nothing happened; the message names the step to write instead."""

    code = "not_in_workflow"


class TurnRefused(Exception):  # noqa: N818  (as above)
    """A turn cannot be committed, and trying again alone will not help: the run waits for a person or for other code.

    ``code``: ``diverged`` (the code makes other commands than were recorded), ``limit`` (it asks for too much at once), ``stuck``
    (it never came to rest).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
