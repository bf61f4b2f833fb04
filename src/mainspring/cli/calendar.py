"""``mainspring calendar …``: named sets of days with hours, which the rules of schedules use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected

if TYPE_CHECKING:
    from mainspring.operations.calendars import CalendarView

app = typer.Typer(
    help="Look at calendars, put and delete them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="CALENDAR", show_default=False)]
_SHOWN = 20


@app.command("list")
def list_calendars(
    context: typer.Context,
    after: Annotated[str, typer.Option("--after", help="Begin behind this name.")] = "",
    json: output.Json = False,
) -> None:
    """The calendars of this namespace by name, a page of them."""
    with connected(context) as client:
        found = client.calendars.list(after=after)
    if json:
        output.show_json({"data": [_data(each) for each in found]})
        return
    output.show_table(
        ["NAME", "VERSION", "HOURS", "DAYS", "WITHOUT", "UPDATED", "BY"],
        [
            [
                each.name,
                each.version,
                len(each.days.hours),
                len(each.days.added),
                len(each.days.removed),
                output.at(each.updated_at),
                each.updated_by,
            ]
            for each in found
        ],
    )


@app.command("show")
def show(context: typer.Context, name: Name, json: output.Json = False) -> None:
    """What a calendar says, its next days, and the schedules whose rules name it."""
    with connected(context) as client:
        found, used_by = client.calendars.get(name)
        today = client.system.now() // 86_400_000_000
    if json:
        output.show_json(_data(found) | {"schedules": list(used_by)})
        return
    from mainspring.core.dates import format_date

    coming = [format_date(day) for day in sorted(found.days.added - found.days.removed) if day >= today]
    gone = [format_date(day) for day in sorted(found.days.removed) if day >= today]
    output.show_fields(
        {
            "name": found.name,
            "version": found.version,
            "hours": _some([f"{each['days']} {each['from']}-{each['until']}" for each in found.spec.as_data().get("hours", [])]),
            "days": _some(coming),
            "without": _some(gone),
            "schedules": _some(list(used_by)),
        }
    )


@app.command("put")
def put(
    context: typer.Context,
    name: Name,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="YAML: hours, dates, holidays, calendars, without.")] = None,
    date: Annotated[list[str] | None, typer.Option("--date", help="A whole day: 2026-12-24; may be repeated.")] = None,
    holidays: Annotated[list[str] | None, typer.Option("--holidays", help="The public holidays of a place: DE, DE-BE.")] = None,
    hours: Annotated[list[str] | None, typer.Option("--hours", help="Weekly hours: mon-fri, or mon-fri=09:00-17:00.")] = None,
    without: Annotated[list[str] | None, typer.Option("--without", help="A day, or HOLIDAYS of a place: holidays:DE-BE.")] = None,
    json: output.Json = False,
) -> None:
    """Make a calendar of days and hours. The schedules that use it are planned again; what was decided stays."""
    from mainspring.errors import InvalidOption

    given = (date, holidays, hours, without)
    if (file is None) is not any(given):
        told = "say what the calendar is made of: --file alone, or --date, --holidays, --hours and --without"
        raise InvalidOption(told, option="file")
    data = _of_file(file) if file is not None else _of_options(*(each or [] for each in given))
    with connected(context) as client:
        made, affected = client.calendars.put_data(name, data)
    if json:
        output.show_json(_data(made) | {"schedules": list(affected)})
    else:
        print(f"{name} is at version {made.version}; planned again: {_some(list(affected))}")


@app.command("delete")
def delete(context: typer.Context, name: Name, yes: output.Yes = False) -> None:
    """Free the name of a calendar that nothing uses."""
    output.confirm(f"Delete calendar {name}?", yes=yes)
    with connected(context) as client:
        client.calendars.delete(name)
    print(f"{name} is gone")


def _of_file(file: Path) -> dict[str, Any]:
    from mainspring.codec.strict_yaml import read_yaml
    from mainspring.errors import InvalidOption

    data = read_yaml(file.read_text(encoding="utf-8"), name=str(file)).data
    if not isinstance(data, dict):
        raise InvalidOption("the file must say what the calendar is made of: dates: [2026-12-24]", option="file")
    return data


def _of_options(dates: list[str], holidays: list[str], hours: list[str], without: list[str]) -> dict[str, Any]:
    weekly = []
    for each in hours:
        days, has_times, times = each.partition("=")
        since, _, until = times.partition("-")
        weekly.append({"days": days} | ({"from": since, "until": until} if has_times else {}))
    places = [each.removeprefix("holidays:") for each in without if each.startswith("holidays:")]
    gone = {"dates": [each for each in without if not each.startswith("holidays:")], "holidays": places}
    data = {"dates": dates, "holidays": holidays, "hours": weekly, "without": gone if without else None}
    return {key: value for key, value in data.items() if value}


def _data(found: CalendarView) -> dict[str, Any]:
    return {
        "name": found.name, "version": found.version, "says": found.spec.as_data(), "updated_at": found.updated_at,
        "updated_by": found.updated_by,
    }  # fmt: skip


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN]) or '-'}{more}"
