"""``mainspring import …``: other systems' schedules as a file for ``mainspring schedule apply``. Nothing is created."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli import output
from mainspring.errors import InvalidOption

if TYPE_CHECKING:
    import sqlite3

    from mainspring.importing.imported import Imported

app = typer.Typer(
    help="Schedules of other systems, as files for `mainspring schedule apply`.", no_args_is_help=True, rich_markup_mode=None
)

Zone = Annotated[str | None, typer.Option("--tz", help="The zone of the host's clocks, such as Europe/Berlin.")]
#: So many fires of the source are held against ours.
_COMPARED = 50

Fires = Annotated[int, typer.Option("-n", help="Show so many of the next fires, up to 50.", min=0, max=50)]


@app.callback()
def importing() -> None:
    """Schedules of other systems, as files for `mainspring schedule apply`."""


@app.command("crontab")
def crontab(
    path: Annotated[str, typer.Argument(metavar="PATH", help="a crontab, or - for what `crontab -l` says", show_default=False)],
    tz: Zone = None,
    system: Annotated[bool, typer.Option("--system", help="A user stands before each command, as in /etc/crontab.")] = False,
    prefix: Annotated[str, typer.Option("--prefix", help="What names begin with.")] = "cron/",
    count: Fires = 3,
) -> None:
    """Write a crontab as a file of schedules to standard output, and what became of each entry to standard error. Exit 1 if one was
    refused."""
    from mainspring.importing.crontab import read_crontab

    _write(read_crontab(_text(path), timezone=tz, is_system=system, prefix=prefix), count)


@app.command("systemd")
def systemd(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="timers, and the services that they start", show_default=False)
    ],
    tz: Zone = None,
    prefix: Annotated[str, typer.Option("--prefix", help="What names begin with.")] = "systemd/",
    count: Fires = 3,
) -> None:
    """Write systemd timers as a file of schedules to standard output, and what became of each to standard error. Exit 1 if one was
    refused."""
    from mainspring.importing.systemd import read_timers

    _write(read_timers({str(path): _text(str(path)) for path in files}, timezone=tz, prefix=prefix), count)


Source = Annotated[Path, typer.Argument(metavar="PATH", help="a file", show_default=False)]


@app.command("celery-beat")
def celery_beat(
    path: Source,
    tz: Annotated[str | None, typer.Option("--tz", help="The timezone of the Celery app, such as Europe/Berlin.")] = None,
    prefix: Annotated[str, typer.Option("--prefix", help="What names begin with.")] = "celery/",
    count: Fires = 3,
) -> None:
    """Write beat's schedule as a file of schedules to standard output, and what became of each entry to standard error: from
    beat_schedule as JSON or in a Python module, which is read and not run, or from the tables of django-celery-beat or
    celery-sqlalchemy-scheduler in a SQLite file. Exit 1 if one was refused."""
    from mainspring.importing.beat_tables import read_tables
    from mainspring.importing.celery_beat import read_beat

    if _is_sqlite(path):
        _write(_from_database(path, lambda database: read_tables(database, timezone=tz, prefix=prefix)), count)
        return
    if path.name.startswith("celerybeat-schedule"):
        told = "celerybeat-schedule holds pickles, which are not loaded: give the module with beat_schedule, or write it as JSON"
        raise InvalidOption(told, option="path")
    text = _text(str(path))
    _write(_or_told(path, lambda: read_beat(text, timezone=tz, prefix=prefix)), count)


@app.command("apscheduler")
def apscheduler(
    path: Source,
    prefix: Annotated[str, typer.Option("--prefix", help="What names begin with.")] = "apscheduler/",
    count: Fires = 3,
) -> None:
    """Write the jobs of APScheduler 3 in a SQLite file as a file of schedules to standard output, and what became of each to
    standard error. Their pickles are read without loading anything that they name. Exit 1 if one was refused."""
    from mainspring.importing.apscheduler import read_jobs

    if not _is_sqlite(path):
        raise InvalidOption(f"{path} is no SQLite file: give that of the job store", option="path")
    _write(_from_database(path, lambda database: read_jobs(database, prefix=prefix)), count)


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError as error:
        raise InvalidOption(f"{path} cannot be read: {error}", option="path") from None


def _from_database(path: Path, read: Callable[[sqlite3.Connection], list[Imported]]) -> list[Imported]:
    """What a database says, which is opened for reading only."""
    import sqlite3

    def opened() -> list[Imported]:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return read(database)

    return _or_told(path, opened)


def _or_told(path: Path, read: Callable[[], list[Imported]]) -> list[Imported]:
    from mainspring.core.problems import Refused

    try:
        return read()
    except Refused as refused:
        raise InvalidOption(f"{path}: {' '.join(refused.sentences)}", option="path") from None


def _text(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOption(f"{path} cannot be read: {error}", option="path") from None


def _write(found: Sequence[Imported], count: int) -> None:
    from mainspring.codec.strict_yaml import write_yaml

    told = [_told(each, count) for each in found]
    entries = [each.entry for each, (_, refused) in zip(found, told, strict=True) if not refused]
    print(write_yaml({"version": 1, "schedules": entries}), end="")
    for text, _ in told:
        output.tell(text)
    refused = sum(refused for _, refused in told)
    output.tell(f"{len(entries)} entries, {refused} refused; look at the file, then: mainspring schedule apply -f FILE --set NAME")
    if refused:
        raise typer.Exit(1)


def _told(each: Imported, count: int) -> tuple[str, bool]:
    """What became of an entry, and whether it was refused."""
    from mainspring.core.durations import parse_instant
    from mainspring.core.rule_reading import read_rule
    from mainspring.core.timetable import Surroundings, timetable
    from mainspring.errors import NeverDue, RuleInvalid
    from mainspring.system import RealSystem
    from mainspring.zones import zone

    lines = [f"{each.place}: {each.source}"]
    refused = each.refused
    if each.entry is not None:
        now = RealSystem().now()
        try:
            rule = read_rule(each.entry["rule"], is_zone=lambda name: zone(name) is not None)
            start, end = (
                parse_instant(each.entry[bound], option=bound) if bound in each.entry else None for bound in ("start_at", "end_at")
            )
            around = Surroundings(zones=zone, created_at=now, start_at=start, end_at=end, seed=each.entry["name"])
            table = timetable(rule, around)
            table.check_due(now)
            fires = ", ".join(output.at(fire.at) or "" for fire in table.preview(now, count))
            lines.append(f"  is {each.entry['name']}{f'; next {fires}' if fires else ''}")
            lines += _differences(each, now, [fire.at for fire in table.preview(now, _COMPARED)])
        except (RuleInvalid, NeverDue) as error:
            refused = error.message
    if refused is not None:
        lines.append(f"  REFUSED: {refused}")
    lines += [f"  note: {note}" for note in each.notes]
    return "\n".join(lines), refused is not None


def _differences(each: Imported, now: int, ours: list[int]) -> list[str]:
    """Where the source's next fires are not ours, up to the last instant that both lists reach."""
    if each.fires is None:
        return []
    theirs = each.fires(now, _COMPARED)
    last = min((found[-1] for found in (ours, theirs) if len(found) == _COMPARED), default=None)
    only = [
        (at, whose)
        for whose, mine, other in (("the source", theirs, ours), ("this", ours, theirs))
        for at in sorted(set(mine) - set(other))
        if last is None or at <= last
    ]
    if not only:
        return [f"  the next {len(theirs)} fires are the source's own"]
    return [f"  DIFFERENT: {output.at(at)} is due by {whose} only: {each.cause}" for at, whose in sorted(only)]
