"""Whether code that is replayed asks for what it asked for the first time, and what a person reads where it does not."""

from collections.abc import Sequence

from mainspring.core.commands import Command, Input, Kind, TurnRefused


def match(given: Input, recorded: Sequence[Command], made: Sequence[Command]) -> None:
    """Hold the commands of one delivery that was committed against those the code makes for it now: by ordinal, kind and name, none
    missing, none extra. Only an inline step may lack its record: the worker that ran it died, and it runs again.

    Raises:
        TurnRefused: they differ (``diverged``), with both sides and the line of the code.
    """
    before = {command.ordinal: command for command in recorded}
    for now in made:
        was = before.pop(now.ordinal, None)
        if was is None and now.kind is not Kind.INLINE:
            raise _diverged(given, None, now)
        if was is not None and _identity(was) != _identity(now):
            raise _diverged(given, was, now)
    if before:
        raise _diverged(given, before[min(before)], None)


def _identity(command: Command) -> tuple[Kind, str, int | None, int | None]:
    return command.kind, command.name, command.target, command.taken


def _diverged(given: Input, was: Command | None, now: Command | None) -> TurnRefused:
    about = "" if given.ordinal is None else f" of ordinal {given.ordinal}"
    lines = [
        f"at input #{given.seq} {given.type}{about}",
        f"recorded   {_told(was)}",
        f"made now   {_told(now)}",
        "do         bring back the code that this run began with; a run that begins anew takes the new one",
    ]
    return TurnRefused("diverged", "\n".join(lines))


def _told(command: Command | None) -> str:
    if command is None:
        return "nothing"
    return f"ordinal {command.ordinal}   {command}" + (f"   {command.where}" if command.where else "")
