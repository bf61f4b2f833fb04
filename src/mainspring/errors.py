"""Every exception Mainspring raises.

Here: each, its code and what it carries; the tree is drawn in ``docs/reference/errors.md``.
Not here: what a task raises to end its attempt (``core/signals.py``).

Branch on ``code``, never on text: codes are stable, messages improve.
"""

# ruff: noqa: N818  (these names say what happened; "Error" at the end of each would say nothing more)

from __future__ import annotations

from typing import Any, ClassVar


def shown(value: object) -> str:
    """A refused value as error messages show it: its ``repr``, at most 80 characters of it."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no int of more than some thousand digits
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 80 else text[:79] + "…"


def _told(name: str, doc: str) -> Any:
    """A property that is one of the details; None where it was not told."""
    return property(lambda error: error.details.get(name), doc=doc)


class MainspringError(Exception):
    """Root of everything Mainspring reports.

    ``code`` is stable and made to branch on. ``retryable`` promises that the same call, unchanged, may work later.
    ``message`` is for people; ``details`` holds the same facts for programs.
    """

    code: ClassVar[str] = "mainspring_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, /, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details


# --- the caller's mistake ---------------------------------------------------------------------------------------------


class CallerMistake(MainspringError):
    """The call cannot work as written, or no longer applies; nothing was changed. The message says what to change."""

    code = "caller_mistake"

    @property
    def errors(self) -> list[dict[str, Any]]:
        """All that is wrong, one entry for each, where an error tells of several; the tree above says what is in it."""
        return list(self.details.get("errors", ()))


class PayloadInvalid(CallerMistake):
    """The arguments do not fit the task's parameters; no run was created."""

    code = "payload_invalid"


class PayloadTooLarge(CallerMistake):
    """The encoded arguments exceed the limit; no run was created."""

    code = "payload_too_large"


class ResultInvalid(CallerMistake):
    """The task returned something that cannot be encoded; the attempt failed and is not retried."""

    code = "result_invalid"


class ResultTooLarge(CallerMistake):
    """The encoded result exceeds the limit; the attempt failed and is not retried."""

    code = "result_too_large"


class ValueUnreadable(CallerMistake):
    """A stored value cannot be opened: its key is not listed, it was altered, or its blob is gone. The message says which, and
    what to give; ``details["key"]`` names the key."""

    code = "value_unreadable"


class RuleInvalid(CallerMistake):
    """A rule of a schedule cannot be as it is written. All that is wrong is told at once, and what to write instead."""

    code = "rule_invalid"


class NeverDue(CallerMistake):
    """A rule that is due at no instant of the next 50 years."""

    code = "never_due"


class FileInvalid(CallerMistake):
    """A file of schedules cannot be as it is written; nothing was changed. All that is wrong is told at once, with its place."""

    code = "file_invalid"


class ScheduleConflict(CallerMistake):
    """Files say something else than what somebody changed by hand, or about schedules of another owner; nothing was changed."""

    code = "schedule_conflict"


class UnknownTask(CallerMistake):
    """No task of that name, or alias, is registered with this app."""

    code = "unknown_task"


class UnknownQueue(CallerMistake):
    """No queue of that name is registered."""

    code = "unknown_queue"


class UnknownRun(CallerMistake):
    """No run has that id: it never existed, or it was pruned."""

    code = "unknown_run"


class UnknownReceipt(CallerMistake):
    """The run has no such receipt: it never left one, or it was pruned."""

    code = "unknown_receipt"


class UnknownWorker(CallerMistake):
    """No worker has that id: it never existed, or it has been gone for long."""

    code = "unknown_worker"


class UnknownLimit(CallerMistake):
    """Neither code nor an operator ever set this limit."""

    code = "unknown_limit"


class UnknownSchedule(CallerMistake):
    """No schedule has that name."""

    code = "unknown_schedule"


class UnknownCalendar(CallerMistake):
    """There is no such calendar in this namespace."""

    code = "unknown_calendar"


class CalendarInUse(CallerMistake):
    """Schedules or other calendars are made with it, so it stays. ``details["users"]`` names some of them."""

    code = "calendar_in_use"


class UnknownBlackout(CallerMistake):
    """There is no such blackout in this namespace."""

    code = "unknown_blackout"


class BlackedOut(CallerMistake):
    """The schedule is in a blackout, so what was asked for is not done. ``details["until"]`` is its end (µs)."""

    code = "blacked_out"


class NameTaken(CallerMistake):
    """Another schedule of the namespace has that name; nothing was changed."""

    code = "name_taken"


class QueuePaused(CallerMistake):
    """``run_now`` in a queue that is paused; nothing was created."""

    code = "queue_paused"


class InvalidOption(CallerMistake):
    """An option has a value it cannot have; ``details["option"]`` names it and the message says what to write."""

    code = "invalid_option"


class InvalidName(InvalidOption):
    """A name or key breaks the rules of names. Shares ``invalid_option``: the remedy is the same."""


class ScheduleInvalid(InvalidOption):
    """A schedule cannot be as it is written. All that is wrong is told at once, and what to write instead."""

    code = "schedule_invalid"


class DuplicateTask(InvalidOption):
    """Two tasks of one app claim the same name. Shares ``invalid_option``: the remedy is the same."""


class KeyConflict(CallerMistake):
    """The idempotency key belongs to a run with another payload; nothing was written."""

    code = "key_conflict"

    owner = _told("owner", "Id of the run that holds the key.")

    @property
    def fields(self) -> list[str]:
        """Names of the payload fields that differ from the owner's."""
        return list(self.details.get("fields", ()))


class KeyActive(CallerMistake):
    """The key belongs to a run that has not ended, so it cannot be taken from it."""

    code = "key_active"

    owner = _told("owner", "Id of the run that holds the key.")


class RunTerminal(CallerMistake):
    """The run has ended, and terminal history never changes."""

    code = "run_terminal"


class NotTerminal(CallerMistake):
    """The call needs a run that has ended, and this one has not."""

    code = "not_terminal"


class NotWaiting(CallerMistake):
    """The call needs a run that waits, and this one does not: a worker claimed it meanwhile, or it needs a person."""

    code = "not_waiting"


class DeadLetterClosed(CallerMistake):
    """There is no open dead letter of that run: it was dismissed, or there never was one."""

    code = "dead_letter_closed"


class ChangedMeanwhile(CallerMistake):
    """What the call was about to change is not as the caller saw it: read it again. Nothing was changed."""

    code = "changed_meanwhile"


class NotAuthenticated(CallerMistake):
    """Nobody is known by what was shown: a wrong name or password, a token that is mistyped, unknown, expired or revoked."""

    code = "not_authenticated"


class NotAllowed(CallerMistake):
    """Whoever asks is known, and may not do this; ``details["operation"]`` is the kind of operation that was refused."""

    code = "not_allowed"


class UnknownToken(CallerMistake):
    """No API token has that id."""

    code = "unknown_token"


class UnknownUser(CallerMistake):
    """No person is known by that name."""

    code = "unknown_user"


class UserExists(CallerMistake):
    """A person is known by that name already; nothing was changed."""

    code = "user_exists"


class AuditBroken(CallerMistake):
    """The audit log does not hold where it was to be pruned: nothing was removed. ``details["seq"]`` is the first broken entry."""

    code = "audit_broken"


class LeaseLost(CallerMistake):
    """The attempt's token is no longer the newest: the write changed nothing, and no later one will."""

    code = "lease_lost"


class TargetInvalid(CallerMistake):
    """A target that cannot be run as it is written. ``errors`` names all that is wrong, and what to write instead."""

    code = "target_invalid"


class TargetRefused(CallerMistake):
    """A target that is well written and not allowed: an address, a port, a program or a user. ``rule`` says by what."""

    code = "target_refused"

    @property
    def rule(self) -> str:
        """Name of the rule: ``loopback``, ``port``, ``SHELL_ALLOW``, ..."""
        return str(self.details.get("rule", ""))


class CapabilityUnsupported(CallerMistake):
    """This storage or transport does not promise what the call needs; refused before any effect."""

    code = "capability_unsupported"


class ForeignSqlite(CallerMistake):
    """A connection of another SQLite library to our file: two in one process can corrupt it."""

    code = "foreign_sqlite"


class ConfigurationInvalid(CallerMistake):
    """A setting is missing, unknown or contradicts another."""

    code = "configuration_invalid"


class SchemaNewer(CallerMistake):
    """The database was migrated by newer code than this; it was not touched."""

    code = "schema_newer"


class SchemaOlder(CallerMistake):
    """The database misses migrations that this code needs; it was not touched."""

    code = "schema_older"


class StorageUnwritable(CallerMistake):
    """The database can be reached but not written: a read-only file, folder or role."""

    code = "storage_unwritable"


# --- the world's trouble ----------------------------------------------------------------------------------------------


class WorldTrouble(MainspringError):
    """Something outside failed; the same call may work later."""

    code = "world_trouble"
    retryable = True

    @property
    def retry_after(self) -> float:
        """Seconds until another try makes sense, as far as it is known; else one."""
        return float(self.details.get("retry_after", 1.0))


class StorageConflict(WorldTrouble):
    """Concurrent transactions collided, and the built-in retries did not settle it; nothing was written."""

    code = "storage_conflict"


class StorageUnavailable(WorldTrouble):
    """The database cannot be reached; nothing was written."""

    code = "storage_unavailable"


class CommitUnknown(WorldTrouble):
    """The connection broke during commit: the write may or may not have happened. Repeat it with the same ids."""

    code = "commit_unknown"


class NoCapacity(WorldTrouble):
    """``run_now`` under a limit that lets nothing begin at this moment; nothing was created."""

    code = "no_capacity"


class QueueFull(WorldTrouble):
    """As many runs wait in the queue as may (``max_waiting``); nothing was created."""

    code = "queue_full"


class LoginThrottled(WorldTrouble):
    """Too many tries to log in under this name failed; this one was not looked at."""

    code = "login_throttled"


class TransportFailed(WorldTrouble):
    """A transport cannot start, or did not take a message that somebody waits for. No run and no enqueue fails of it."""

    code = "transport_failed"


class ResultTimeout(WorldTrouble, TimeoutError):
    """The run did not end within the wait. The run itself goes on; wait again, or cancel it."""

    code = "result_timeout"


# --- a run that ended otherwise than succeeded ------------------------------------------------------------------------


class RunUnsuccessful(MainspringError):
    """There is no result, for the run ended otherwise. The run has ended: waiting again gives the same answer."""

    code = "run_unsuccessful"

    run_id = _told("run_id", "Id of the run that ended.")
    reason = _told("reason", "Why the run ended, as a code: ``error``, ``timeout``, ``interrupted``, ``deadline``, ...")
    error = _told("error", "Message of the task's own last error, where there was one.")
    failure = _told("failure", "The whole recorded failure (code, message, type, ...), where there was one.")


class RunFailed(RunUnsuccessful):
    """The run ended ``failed`` or ``upstream_failed``."""

    code = "run_failed"


class RunCancelled(RunUnsuccessful):
    """The run ended ``cancelled``."""

    code = "run_cancelled"


class RunSkipped(RunUnsuccessful):
    """The run ended ``skipped``: it was decided never to start it."""

    code = "run_skipped"


# --- our bug ----------------------------------------------------------------------------------------------------------


class BrokenInvariant(MainspringError):
    """Something that cannot be is. Our bug: the service that saw it stops, and the data stays as it is."""

    code = "broken_invariant"
