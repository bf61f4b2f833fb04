"""``mainspring import …``: other systems' schedules as a file for ``mainspring schedule apply``. Nothing is created."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainspring.cli import output
from mainspring.errors import InvalidOption

if TYPE_CHECKING:
    from mainspring.importing.imported import Imported

app = typer.Typer(
    help="Schedules of other systems, as files for `mainspring schedule apply`.", no_args_is_help=True, rich_markup_mode=None
)

Zone = Annotated[str | None, typer.Option("--tz", help="The zone of the host's clocks, such as Europe/Berlin.")]
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
            table = timetable(rule, Surroundings(zones=zone, created_at=now, seed=each.entry["name"]))
            table.check_due(now)
            fires = ", ".join(output.at(fire.at) or "" for fire in table.preview(now, count))
            lines.append(f"  is {each.entry['name']}{f'; next {fires}' if fires else ''}")
        except (RuleInvalid, NeverDue) as error:
            refused = error.message
    if refused is not None:
        lines.append(f"  REFUSED: {refused}")
    lines += [f"  note: {note}" for note in each.notes]
    return "\n".join(lines), refused is not None
