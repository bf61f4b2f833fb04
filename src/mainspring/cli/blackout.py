"""``mainspring blackout …``: windows of time in which schedules do not fire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected

if TYPE_CHECKING:
    from mainspring.operations.blackouts import BlackoutView

app = typer.Typer(
    help="Look at blackouts, put and delete them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="BLACKOUT", show_default=False)]


@app.command("list")
def list_blackouts(context: typer.Context, json: output.Json = False) -> None:
    """The blackouts of this namespace, by name."""
    with connected(context) as client:
        found = client.blackouts.list()
    if json:
        output.show_json({"data": [_data(each) for each in found]})
    else:
        output.show_table(
            ["NAME", "POLICY", "WINDOW", "SCHEDULES", "REASON"],
            [[each.name, str(each.blackout.policy), _window(each), len(each.schedules), each.blackout.reason] for each in found],
        )


@app.command("show")
def show(context: typer.Context, name: Name, json: output.Json = False) -> None:
    """What a blackout says, and the schedules it is over."""
    with connected(context) as client:
        found = client.blackouts.get(name)
    if json:
        output.show_json(_data(found))
        return
    output.show_fields(
        {
            "name": found.name,
            "policy": str(found.blackout.policy),
            "window": _window(found),
            "schedules": ", ".join(found.schedules) or "-",
            "reason": found.blackout.reason,
        }
    )


@app.command("put")
def put(
    context: typer.Context,
    name: Name,
    policy: Annotated[str, typer.Option("--policy", help="skip: what is due inside does not run; defer: it does at the end.")],
    first: Annotated[str | None, typer.Option("--from", help="The beginning: 2031-05-01T00:00:00Z.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="The end.")] = None,
    cron: Annotated[str | None, typer.Option("--cron", help="Begin at each instant of it, with --tz and --for.")] = None,
    tz: Annotated[str | None, typer.Option("--tz", help="The zone of --cron: Europe/Berlin.")] = None,
    length: Annotated[str | None, typer.Option("--for", help="So long each time: 2h.")] = None,
    schedule: Annotated[list[str] | None, typer.Option("--schedule", help="Over this schedule, or etl/*; may be repeated.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    json: output.Json = False,
) -> None:
    """Let schedules not fire in a window, or in one that comes again and again."""
    from mainspring.errors import InvalidOption

    if (cron is None) is not (tz is None):
        raise InvalidOption("--cron and --tz belong together", option="tz" if tz is None else "cron")
    rule = None if cron is None else {"cron": cron, "timezone": tz}
    said: dict[str, Any] = {"from": first, "to": end, "rule": rule, "for": length, "policy": policy, "reason": reason}
    with connected(context) as client:
        made = client.blackouts.put_data(name, {key: value for key, value in (said | {"schedules": schedule}).items() if value})
    if json:
        output.show_json(_data(made))
    else:
        print(f"{name} is over {len(made.schedules)} schedules")


@app.command("delete")
def delete(context: typer.Context, name: Name, yes: output.Yes = False) -> None:
    """End a blackout. What it ended stays so; what it deferred is settled by the misfire policy."""
    output.confirm(f"Delete blackout {name}?", yes=yes)
    with connected(context) as client:
        client.blackouts.delete(name)
    print(f"{name} is gone")


def _window(found: BlackoutView) -> str:
    said = found.blackout.as_data()
    return f"{said['from']} to {said['to']}" if "from" in said else f"{output.text_of(said['rule'])} for {said['for']}"


def _data(found: BlackoutView) -> dict[str, Any]:
    return {
        "name": found.name, "says": found.blackout.as_data(), "schedules": list(found.schedules), "updated_at": found.updated_at,
        "updated_by": found.updated_by,
    }  # fmt: skip
