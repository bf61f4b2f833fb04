"""``mainspring dead-letter …``: runs that used up a budget, to be replayed or dismissed by a person."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected
from mainspring.cli.run import RunId

app = typer.Typer(help="Runs that used up a budget: list, replay, dismiss them.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_letters(
    context: typer.Context,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Only of this task.")] = None,
    code: Annotated[str | None, typer.Option("--code", help="Only those that failed with this code.")] = None,
    closed: Annotated[bool, typer.Option("--closed", help="Those that are closed too.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many, up to 500.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on after this: next_cursor of the page before.")] = None,
    json: output.Json = False,
) -> None:
    """Open dead letters, newest run first."""
    with connected(context) as client:
        page: Any = client.dead_letters.list(task=task, code=code, closed=closed, limit=limit, cursor=cursor)
    if json:
        output.show_json({"data": page.data, "next_cursor": page.next_cursor})
        return
    output.show_table(
        ["ID", "TASK", "CODE", "OPENED", "CLOSED", "HOW", "REASON"],
        [
            [
                letter.run_id,
                letter.task,
                letter.code,
                output.at(letter.opened_at),
                output.at(letter.closed_at),
                letter.closed_how,
                letter.close_reason,
            ]
            for letter in page.data
        ],
    )
    if page.next_cursor:
        output.tell(f"there may be more: --cursor {page.next_cursor}")


@app.command("groups")
def groups(context: typer.Context, json: output.Json = False) -> None:
    """Open dead letters counted by task and code, the largest group first."""
    with connected(context) as client:
        found: Any = client.dead_letters.groups()
    if json:
        output.show_json({"data": found})
        return
    output.show_table(
        ["TASK", "CODE", "COUNT", "OLDEST", "NEWEST"],
        [[group.task, group.code, group.count, output.at(group.oldest_at), output.at(group.newest_at)] for group in found],
    )


@app.command("replay")
def replay(context: typer.Context, run_id: RunId) -> None:
    """Try the run again as a new one; prints the new id."""
    with connected(context) as client:
        handle = client.dead_letters.replay(run_id)
    if handle.outcome == "existing":
        output.tell("it was replayed already")
    print(handle.id)


@app.command("dismiss")
def dismiss(
    context: typer.Context,
    run_id: RunId,
    reason: Annotated[str, typer.Option("--reason", help="Why nobody will try it again; kept with it.")],
    yes: output.Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which run it is, and change nothing.")] = False,
) -> None:
    """Say that nobody will try the run again. It may be pruned then."""
    with connected(context) as client:
        view = client.runs.get(run_id)
        if dry_run:
            print(f"would dismiss {view.run.id}: {view.task}, {view.run.reason}")
            return
        output.confirm(f"Dismiss the dead letter of {view.task} ({view.run.reason})?", yes=yes)
        changed = client.dead_letters.dismiss(run_id, reason)
    print("dismissed" if changed else "it was dismissed already")
