"""The command line's root: global options, the table of sub-commands, and how errors become messages and exit codes.

Not here: what any command does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from mainspring.cli import (
    alert,
    audit,
    blackout,
    calendar,
    database,
    dead_letter,
    dev,
    doctor,
    finding,
    hold,
    importing,
    limit,
    queue,
    run,
    schedule,
    schedule_files,
    scheduler,
    server,
    steering,
    task,
    tick,
    token,
    user,
    webhook,
    worker,
)
from mainspring.cli.connecting import Flags
from mainspring.errors import (
    CapabilityUnsupported,
    ChangedMeanwhile,
    CommitUnknown,
    ConfigurationInvalid,
    DeadLetterClosed,
    FileInvalid,
    InvalidOption,
    KeyConflict,
    MainspringError,
    NeverDue,
    NotTerminal,
    NotWaiting,
    PayloadInvalid,
    PayloadTooLarge,
    RuleInvalid,
    RunTerminal,
    ScheduleConflict,
    SchemaNewer,
    SchemaOlder,
    StorageConflict,
    StorageUnavailable,
    StorageUnwritable,
    TransportFailed,
    UnknownBlackout,
    UnknownCalendar,
    UnknownLimit,
    UnknownQueue,
    UnknownReceipt,
    UnknownRun,
    UnknownSchedule,
    UnknownTask,
    UnknownToken,
    UnknownUser,
    UnknownWorker,
    UserExists,
    ValueUnreadable,
)

#: Rooms of the nouns `run` and `schedule`: they give them commands when they are imported.
_ROOMS = (finding, steering, schedule_files)

#: What the exit codes mean, for the reference.
EXIT_CODES = {
    0: "done",
    1: "the thing failed: a watched run that did not succeed, a check with findings, a no to a question",
    2: "bad usage: an option, a setting or a MODULE:APP that cannot be",
    3: "not found: no such run, queue, task, schedule, calendar, blackout, token or person",
    4: "conflict: the run has ended already, or has not; a key or a name is taken; a file against a change by hand",
    5: "the database or the transport cannot be used: not reached, not writable, not migrated, or from a newer Mainspring",
    75: "the worker is worn out by threads that do not end: start it again",
    130: "interrupted with Ctrl-C",
}

_CODES: tuple[tuple[int, tuple[type[MainspringError], ...]], ...] = (
    (
        2,
        (
            CapabilityUnsupported,
            ConfigurationInvalid,
            FileInvalid,
            InvalidOption,
            NeverDue,
            PayloadInvalid,
            PayloadTooLarge,
            RuleInvalid,
            ValueUnreadable,
        ),
    ),
    (
        3,
        (
            UnknownRun,
            UnknownQueue,
            UnknownTask,
            UnknownSchedule,
            UnknownBlackout,
            UnknownCalendar,
            UnknownToken,
            UnknownUser,
            UnknownWorker,
            UnknownReceipt,
            UnknownLimit,
        ),
    ),
    (
        4,
        (
            RunTerminal,
            NotTerminal,
            NotWaiting,
            DeadLetterClosed,
            ChangedMeanwhile,
            KeyConflict,
            ScheduleConflict,
            StorageConflict,
            UserExists,
        ),
    ),
    (5, (StorageUnavailable, StorageUnwritable, SchemaOlder, SchemaNewer, CommitUnknown, TransportFailed)),
)

#: Global options that take a value; they may stand anywhere before a ``--``.
_GLOBAL = ("--db", "--namespace", "--log-level", "--transport")

app = typer.Typer(
    name="mainspring",
    help="Durable runs: start workers, look at runs, steer queues, care for the database.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("dev")(dev.dev)
app.command("worker")(worker.worker)
app.command("server")(server.server)
app.command("scheduler")(scheduler.scheduler)
app.command("enqueue")(run.enqueue)
app.add_typer(run.app, name="run")
app.add_typer(dead_letter.app, name="dead-letter")
app.add_typer(queue.app, name="queue")
app.add_typer(schedule.app, name="schedule")
app.add_typer(hold.app, name="hold")
app.add_typer(alert.app, name="alert")
app.add_typer(webhook.app, name="webhook")
app.add_typer(importing.app, name="import")
app.add_typer(blackout.app, name="blackout")
app.add_typer(calendar.app, name="calendar")
app.add_typer(limit.app, name="limit")
app.add_typer(task.app, name="task")
app.add_typer(token.app, name="token")
app.add_typer(user.app, name="user")
app.add_typer(audit.app, name="audit")
app.add_typer(database.app, name="db")
app.command("doctor")(doctor.doctor)
app.command("tick")(tick.tick)


def _show_version(wanted: bool) -> None:
    if wanted:
        from mainspring import __version__

        print(f"mainspring {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    db: Annotated[str | None, typer.Option("--db", metavar="URL", help="The database: sqlite:///file.db or postgresql://…")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", metavar="NAME", help="The namespace to work in.")] = None,
    log_level: Annotated[str | None, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")] = None,
    transport: Annotated[
        str | None, typer.Option("--transport", metavar="URL", help="Who carries hints: auto, redis://… or nats://…")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Durable runs: start workers, look at runs, steer queues, care for the database.

    The options below may stand anywhere on the line. Without them MAINSPRING_DATABASE, MAINSPRING_NAMESPACE,
    MAINSPRING_LOG_LEVEL and MAINSPRING_TRANSPORT count, then mainspring.toml in this folder.
    """
    context.obj = Flags(database=db, namespace=namespace, log_level=log_level, transport=transport)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    try:
        app(args=hoisted(sys.argv[1:] if arguments is None else arguments), prog_name="mainspring")
    except MainspringError as error:
        print(f"mainspring: {error.message}", file=sys.stderr)
        sys.exit(exit_code(error))


def exit_code(error: MainspringError) -> int:
    """What a program is told of an error."""
    return next((code for code, kinds in _CODES if isinstance(error, kinds)), 1)


def hoisted(arguments: Iterable[str]) -> list[str]:
    """The arguments with the global options first, wherever they stood."""
    front: list[str] = []
    rest: list[str] = []
    each = iter(arguments)
    for argument in each:
        if argument == "--":
            rest += [argument, *each]
        elif argument in _GLOBAL:
            front += [argument, *[value for value in [next(each, None)] if value is not None]]
        elif argument.startswith(tuple(f"{name}=" for name in _GLOBAL)):
            front.append(argument)
        else:
            rest.append(argument)
    return [*front, *rest]
