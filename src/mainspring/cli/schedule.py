"""``mainspring schedule …``: see what is due, why, and what became of it; put, enable, pause, trigger, backfill, delete."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected
from mainspring.errors import InvalidOption

if TYPE_CHECKING:
    from mainspring.core.instants import Note
    from mainspring.core.rules import Rule
    from mainspring.core.timetable import Fire
    from mainspring.operations.schedules import ScheduleView

app = typer.Typer(help="Schedules: what is due, and what became of it.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="the schedule's name", show_default=False)]
Cron = Annotated[str | None, typer.Option("--cron", help='A cron expression: "30 2 * * *"; needs --tz.')]
Zone = Annotated[str | None, typer.Option("--tz", help="The IANA zone whose clocks it is read on, such as Europe/Berlin.")]
Every = Annotated[str | None, typer.Option("--every", help='An interval: "5m".')]
At = Annotated[str | None, typer.Option("--at", help="One instant: 2031-05-01T09:00:00Z.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever looks later.", show_default=False)]


@app.command("put")
def put(
    context: typer.Context,
    name: Name,
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="the task it runs, by name", show_default=False)] = None,
    cron: Cron = None,
    tz: Zone = None,
    every: Every = None,
    at: At = None,
    http: Annotated[str | None, typer.Option("--http", help="Call this URL instead of a task.")] = None,
    method: Annotated[str, typer.Option("--method", help="How it is called.")] = "POST",
    shell: Annotated[
        str | None, typer.Option("--shell", help="Start this program instead of a task: its words, and no shell reads them.")
    ] = None,
    payload: Annotated[str | None, typer.Option("--payload", help="The task's arguments as a JSON object.")] = None,
    queue: Annotated[str, typer.Option("--queue", "-q", help="The queue of its runs.")] = "default",
    overlap: Annotated[str, typer.Option("--overlap", help="What becomes of one that is due while another runs.")] = "forbid",
    misfire: Annotated[str, typer.Option("--misfire", help="What becomes of what is late.")] = "run_once_if_late",
) -> None:
    """Make a schedule be so: a new one, or a new revision of the one of that name."""
    from mainspring.cli.run import arguments_of

    rule = _rule(cron, tz, every, at)
    with connected(context) as client:
        made = client.schedules.put(
            name,
            rule,
            _target(task, http, method, shell),
            payload=None if payload is None else arguments_of(payload),
            queue=queue,
            overlap=overlap,
            misfire=misfire,
        )
    print(f"{name} is {made.state}, revision {made.revision}; next {output.at(made.next_at) or 'never'}")


@app.command("list")
def list_schedules(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many, up to 500.")] = 50,
    after: Annotated[str, typer.Option("--after", help="Go on behind this name.")] = "",
    state: Annotated[list[str] | None, typer.Option("--state", help="Only those in this state; may be repeated.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only those with such a rule: cron, interval, once, ...")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Only those of this task, or of http or shell.")] = None,
    prefix: Annotated[str, typer.Option("--prefix", help="Only those whose names begin so.")] = "",
    next_before: Annotated[str | None, typer.Option("--next-before", help="Only those due before this instant.")] = None,
    attribute: Annotated[list[str] | None, typer.Option("--attribute", "-a", help="team=billing; may be repeated.")] = None,
    json: output.Json = False,
) -> None:
    """Schedules by name: will it fire, when next, how it went."""
    from mainspring.client.schedule_filters import tags_of

    with connected(context) as client:
        page = client.schedules.find(
            after=after, limit=limit, state=state, kind=kind, target=target, prefix=prefix, next_before=next_before,
            attributes=tags_of(attribute or (), option="--attribute"),
        )  # fmt: skip
    found = page.data
    if json:
        output.show_json({"data": [_told(each) for each in found], "next_cursor": page.next_cursor})
        return
    output.show_table(
        ["NAME", "KIND", "STATE", "NEXT", "LAST FIRED", "FAILURES"],
        [
            [each.name, each.kind, str(each.state), output.at(each.next_at), output.at(each.last_fired_at), each.failure_streak]
            for each in found
        ],
    )


@app.command("show")
def show(context: typer.Context, name: Name, json: output.Json = False) -> None:
    """One schedule: what it says, whether it will fire, and why not."""
    with connected(context) as client:
        told = _told(client.schedules.get(name))
    if json:
        output.show_json(told)
        return
    output.show_fields(told)


@app.command("next")
def preview(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="a schedule; or give a rule", show_default=False)] = None,
    cron: Cron = None,
    tz: Zone = None,
    every: Every = None,
    at: At = None,
    count: Annotated[int, typer.Option("-n", help="So many, up to 500.")] = 10,
    json: output.Json = False,
) -> None:
    """The next instants of a schedule, or of a rule that is not put anywhere, with what clocks on the wall show."""
    if name is None:
        fires = _fires(_rule(cron, tz, every, at), count)
    else:
        with connected(context) as client:
            fires = client.schedules.preview(name, count)
    if json:
        output.show_json({"data": [{"at": fire.at, "notes": [note._asdict() for note in fire.notes]} for fire in fires]})
        return
    rows = [[output.at(fire.at), *next(((n.local, n.zone, n.told) for n in fire.notes), ("", "", ""))] for fire in fires]
    output.show_table(["AT", "LOCAL", "ZONE", "NOTE"], rows)


@app.command("occurrences")
def occurrences(
    context: typer.Context,
    name: Name,
    disposition: Annotated[str | None, typer.Option("--disposition", help="Only those with this fate.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many, up to 500.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on after this: next_cursor of the page before.")] = None,
    json: output.Json = False,
) -> None:
    """What became of a schedule's instants, the newest first."""
    with connected(context) as client:
        page = client.schedules.occurrences(name, disposition=disposition, limit=limit, cursor=cursor)
    if json:
        output.show_json({"data": page.data, "next_cursor": page.next_cursor})
        return
    output.show_table(
        ["NOMINAL", "DISPOSITION", "ORIGIN", "RUN", "COVERS", "REASON"],
        [
            [
                output.at(each.nominal_at),
                str(each.disposition),
                str(each.origin),
                each.run_id,
                each.covers_count,
                each.reason or each.reason_code,
            ]
            for each in page.data
        ],
    )
    if page.next_cursor:
        output.tell(f"there may be more: --cursor {page.next_cursor}")


@app.command("pause")
def pause(context: typer.Context, name: Name, reason: Reason) -> None:
    """Let nothing more fire; what is due meanwhile is settled at the resume."""
    with connected(context) as client:
        client.schedules.pause(name, reason=reason)
    print(f"{name} is paused")


@app.command("resume")
def resume(context: typer.Context, name: Name) -> None:
    """Let it fire again: what was due meanwhile is late."""
    with connected(context) as client:
        client.schedules.resume(name)
    print(f"{name} fires again")


@app.command("enable")
def enable(context: typer.Context, name: Name) -> None:
    """Have its rule be in force from now on; a pause stays."""
    with connected(context) as client:
        print(f"{name} is {client.schedules.enable(name).state}")


@app.command("disable")
def disable(context: typer.Context, name: Name) -> None:
    """Have its rule be in force no more, and withdraw what waits."""
    with connected(context) as client:
        print(f"{name} is {client.schedules.disable(name).state}")


@app.command("explain")
def explain(
    context: typer.Context,
    name: Name,
    at: Annotated[str, typer.Option("--at", help="The instant: 2031-05-01T09:00:00Z.", show_default=False)],
    json: output.Json = False,
) -> None:
    """Why an instant is due or not, and what became of it."""
    with connected(context) as client:
        found = client.schedules.explain(name, at)
    if json:
        output.show_json(found._asdict() | {"walls": [each._asdict() for each in found.walls]})
        return
    fate = found.occurrence or found.range
    output.show_fields(
        {
            "at": output.at(found.at), "due": "yes" if found.is_due else "no", "why": found.why, "revision": found.revision,
            "previous": output.at(found.previous), "next": output.at(found.next), "clocks": "; ".join(map(_wall, found.walls)),
            "skipped": "; ".join(map(_wall, found.skipped)), "fate": None if fate is None else str(fate.disposition),
            "run": None if found.occurrence is None else found.occurrence.run_id,
        }
    )  # fmt: skip


@app.command("revisions")
def revisions(
    context: typer.Context,
    name: Name,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many.")] = 50,
    before: Annotated[int | None, typer.Option("--before", help="Go on behind this revision.")] = None,
    json: output.Json = False,
) -> None:
    """What a schedule said, the newest first, and who said it."""
    from json import dumps as compact

    from mainspring.client.definitions import written

    with connected(context) as client:
        found = client.schedules.revisions(name, before=before, limit=limit)
    told = [(each, written(each.name, each.spec, each.lane, each.policy, each.body) or {}) for each in found]
    if json:
        data = [{"revision": each.revision, "at": each.at, "actor": each.actor, "spec": spec} for each, spec in told]
        output.show_json({"data": data})
        return
    rows = [
        [each.revision, output.at(each.at), each.actor, compact(spec.get("rule")), compact(spec.get("target"))]
        for each, spec in told
    ]
    output.show_table(["REVISION", "AT", "ACTOR", "RULE", "TARGET"], rows)


@app.command("trigger")
def trigger(
    context: typer.Context,
    name: Name,
    reason: Reason,
    ignore_blackout: Annotated[bool, typer.Option("--ignore-blackout", help="Even if it is in a blackout.")] = False,
    json: output.Json = False,
) -> None:
    """Run it now, whatever its rule says and whether it is paused."""
    with connected(context) as client:
        made = client.schedules.trigger(name, reason=reason, ignore_blackout=ignore_blackout)
    if json:
        output.show_json(made._asdict())
        return
    print(f"run {made.run_id} is {made.disposition}")


@app.command("backfill")
def backfill(
    context: typer.Context,
    name: Name,
    first: Annotated[str, typer.Option("--from", help="The first instant: 2031-05-01T00:00:00Z.", show_default=False)],
    last: Annotated[str, typer.Option("--to", help="The last one, inclusive and not in the future.", show_default=False)],
    only: Annotated[str, typer.Option("--only", help="missing, failed or all.")] = "missing",
    order: Annotated[str, typer.Option("--order", help="oldest_first or newest_first.")] = "oldest_first",
    spacing: Annotated[str | None, typer.Option("--spacing", help='The least time between starts: "30s".')] = None,
    max_concurrency: Annotated[int | None, typer.Option("--max-concurrency", help="At most so many under way.")] = None,
    own_slots: Annotated[bool, typer.Option("--own-slots", help="Take none of the schedule's slots.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; else it is only shown.")] = False,
    json: output.Json = False,
) -> None:
    """Run past instants again: shown first, and done with --apply. Upkeep carries it on."""
    with connected(context) as client:
        wanted = client.schedules.backfill(
            name, first, last, only=only, order=order, spacing=spacing, max_concurrency=max_concurrency, own_slots=own_slots
        )
        if apply:
            made = wanted.apply()
            print(f"backfill {made.id}: {made.done} of {made.total} instants have their outcome")
            return
        items = wanted.preview()
    if json:
        output.show_json({"data": [each._asdict() for each in items]})
        return
    output.show_table(["NOMINAL", "WOULD"], [[output.at(each.nominal_at), each.code or "run"] for each in items])


@app.command("delete")
def delete(
    context: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Free its name and withdraw what waits; what runs goes on, and the ledger stays."""
    if not yes:
        typer.confirm(f"delete schedule {name}?", abort=True)
    with connected(context) as client:
        client.schedules.delete(name)
    print(f"{name} is deleted")


def _target(task: str | None, url: str | None, method: str, words: str | None) -> str | dict[str, Any]:
    if sum(each is not None for each in (task, url, words)) != 1:
        raise InvalidOption("name one of a task, --http and --shell", option="target")
    if url is not None:
        return {"http": {"method": method, "url": url}}
    if words is None:
        return str(task)
    try:
        return {"shell": {"argv": shlex.split(words)}}
    except ValueError as error:
        raise InvalidOption(f"--shell cannot be read: {error}", option="shell") from None


def _rule(cron: str | None, tz: str | None, every: str | None, at: str | None) -> Rule:
    from mainspring.core import rule_building

    if sum(each is not None for each in (cron, every, at)) != 1:
        raise InvalidOption("give one of --cron, --every and --at", option="cron")
    if cron is not None:
        return rule_building.cron(cron, tz=tz)
    return rule_building.every(every) if every is not None else rule_building.once(at or "", tz=tz)


def _fires(rule: Rule, count: int) -> list[Fire]:
    from mainspring.client.schedules import fires_of
    from mainspring.system import RealSystem

    return fires_of(rule, count, now=RealSystem().now())


def _wall(note: Note) -> str:
    return f"{note.local} {note.zone} {note.told}".rstrip()


def _told(view: ScheduleView) -> dict[str, Any]:
    from dataclasses import fields

    told = {field.name: getattr(view, field.name) for field in fields(view)}
    return told | {"spec": None if view.spec is None else view.spec.as_data()}
