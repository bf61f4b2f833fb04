"""``mainspring run find`` and ``run bulk``: find runs by what they are, and act on many of them at once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected
from mainspring.cli.run import app, data_of, show_runs
from mainspring.errors import InvalidOption

if TYPE_CHECKING:
    from mainspring.client.bulk import Bulk, Selection
    from mainspring.operations.bulk import Act

StateOption = Annotated[list[str] | None, typer.Option("--state", "-s", help="In this state or class of states; may be repeated.")]
TaskOption = Annotated[str | None, typer.Option("--task", "-t", help="Of this task.")]
QueueOption = Annotated[str | None, typer.Option("--queue", "-q", help="In this queue.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="Made with this idempotency key.")]
SingletonOption = Annotated[str | None, typer.Option("--singleton", help="Made with this singleton key.")]
CodeOption = Annotated[str | None, typer.Option("--code", help="Failed, or waiting, for this reason.")]
ActorOption = Annotated[str | None, typer.Option("--actor", help="Made by this one.")]
BatchOption = Annotated[str | None, typer.Option("--batch", help="Members of this batch.")]
AfterOption = Annotated[str | None, typer.Option("--created-after", help="Made at this instant or later.")]
BeforeOption = Annotated[str | None, typer.Option("--created-before", help="Made before this instant.")]
AttributeOption = Annotated[
    list[str] | None,
    typer.Option("--attribute", "-a", metavar="CONDITION", help="order=7, total>=5, or order (it has one); may be repeated."),
]


@app.command("find")
def find(
    context: typer.Context,
    state: StateOption = None,
    task: TaskOption = None,
    queue: QueueOption = None,
    key: KeyOption = None,
    singleton: SingletonOption = None,
    code: CodeOption = None,
    actor: ActorOption = None,
    batch: BatchOption = None,
    created_after: AfterOption = None,
    created_before: BeforeOption = None,
    attribute: AttributeOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many, up to 500.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on after this: next_cursor of the page before.")] = None,
    json: output.Json = False,
) -> None:
    """Runs that are all of what is asked, newest first."""
    asked = _asked(
        state, attribute, task=task, queue=queue, key=key, singleton=singleton, code=code, actor=actor, batch=batch,
        created_after=created_after, created_before=created_before,
    )  # fmt: skip
    with connected(context) as client:
        page = client.runs.find(limit=limit, cursor=cursor, **asked)
    if json:
        output.show_json({"data": [data_of(view) for view in page.data], "next_cursor": page.next_cursor})
        return
    show_runs(page.data)
    if page.next_cursor:
        output.tell(f"there may be more: --cursor {page.next_cursor}")


@app.command("bulk")
def bulk(
    context: typer.Context,
    action: Annotated[
        str, typer.Argument(metavar="ACTION", help="cancel, retry, rerun, prune, priority or reschedule", show_default=False)
    ],
    state: StateOption = None,
    task: TaskOption = None,
    queue: QueueOption = None,
    key: KeyOption = None,
    singleton: SingletonOption = None,
    code: CodeOption = None,
    actor: ActorOption = None,
    batch: BatchOption = None,
    created_after: AfterOption = None,
    created_before: BeforeOption = None,
    attribute: AttributeOption = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Of a cancel; written into the ledgers.")] = None,
    priority: Annotated[int | None, typer.Option("--priority", help="The new priority.")] = None,
    at: Annotated[str | None, typer.Option("--at", help="Reschedule to this instant.")] = None,
    delay: Annotated[str | None, typer.Option("--delay", help="Reschedule to so long from now.")] = None,
    yes: output.Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")] = False,
    json: output.Json = False,
) -> None:
    """Act on all runs that are what is asked: says how many and what would become of them, asks, and does it.

    A run that moves in between is left alone. If this is killed, `run carry-on` goes on with it, or a worker does after a minute.
    """
    asked = _asked(
        state, attribute, task=task, queue=queue, key=key, singleton=singleton, code=code, actor=actor, batch=batch,
        created_after=created_after, created_before=created_before,
    )  # fmt: skip
    with connected(context) as client:
        act = _previewed(client.runs.preview(**asked), action, reason=reason, priority=priority, at=at, delay=delay)
        if dry_run or not act.count:
            _show_preview(act, json)
            return
        if not json:
            print(act)
        output.confirm(f"Do this to {act.count} runs?", yes=yes)
        output.tell(f"act {act.id}")
        result = act.apply(progress=_progress)
    if json:
        output.show_json(result)
    else:
        print(result)


@app.command("acts")
def acts(context: typer.Context, json: output.Json = False) -> None:
    """Acts on many runs, newest first: how far each is."""
    with connected(context) as client:
        found: Any = client.runs.bulk.list()
    if json:
        output.show_json({"data": [_told(act) for act in found]})
        return
    output.show_table(
        ["ID", "ACTION", "BY", "DONE", "TOTAL", "CREATED", "FINISHED"],
        [
            [act.id, act.action, act.actor, act.done, act.total, output.at(act.created_at), output.at(act.finished_at)]
            for act in found
        ],
    )


@app.command("outcomes")
def outcomes(
    context: typer.Context,
    act_id: Annotated[str, typer.Argument(metavar="ACT", help="the act's id", show_default=False)],
    json: output.Json = False,
) -> None:
    """What became of each run of an act on many."""
    with connected(context) as client:
        found = list(client.runs.bulk.outcomes(act_id))
    if json:
        output.show_json({"data": [item._asdict() for item in found]})
    else:
        output.show_table(["ID", "OUTCOME", "CODE", "NEW RUN"], [list(item) for item in found])


@app.command("carry-on")
def carry_on(
    context: typer.Context,
    act_id: Annotated[str, typer.Argument(metavar="ACT", help="the act's id", show_default=False)],
    json: output.Json = False,
) -> None:
    """Go on with an act on many runs that was cut off."""
    with connected(context) as client:
        result = client.runs.bulk.apply(act_id, progress=_progress)
    if json:
        output.show_json(result)
    else:
        print(result)


def _asked(state: list[str] | None, attribute: list[str] | None, **rest: Any) -> Any:
    """The keywords of ``runs.find``."""
    from mainspring.client.filters import conditions_of

    states = [name.strip() for given in state for name in given.split(",")] if state else None
    return rest | {"state": states, "attributes": conditions_of(attribute or (), option="--attribute") or None}


def _previewed(
    found: Selection, action: str, *, reason: str | None, priority: int | None, at: str | None, delay: str | None
) -> Bulk:
    match action:
        case "cancel":
            return found.cancel(reason)
        case "retry":
            return found.retry()
        case "rerun":
            return found.rerun()
        case "prune":
            return found.prune()
        case "priority" if priority is not None:
            return found.set_priority(priority)
        case "priority":
            raise InvalidOption("say which priority: --priority 5", option="--priority")
        case "reschedule":
            return found.reschedule(at=at, delay=delay)
    raise InvalidOption(
        f"{action!r} cannot be done to many runs; there are cancel, retry, rerun, prune, priority, reschedule", option="ACTION"
    )


def _show_preview(act: Bulk, json: bool) -> None:
    if not json:
        print(act)
        return
    effects = {state: {"runs": count, **effect._asdict()} for state, (count, effect) in act.effects.items()}
    sample = [data_of(view) for view in act.sample]
    output.show_json({"action": act.action, "count": act.count, "exact": act.is_exact, "effects": effects, "sample": sample})


def _told(act: Act) -> dict[str, Any]:
    return act._asdict() | {"created_at": output.at(act.created_at), "finished_at": output.at(act.finished_at)}


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{done} of {total}", end="" if done < total else "\n", file=sys.stderr, flush=True)
