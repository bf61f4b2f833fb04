"""``mainspring queue …``: look at queues and steer them while everything runs."""

from __future__ import annotations

from typing import Annotated

import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected
from mainspring.errors import InvalidOption

app = typer.Typer(help="Look at queues; pause, resume and limit them.", no_args_is_help=True, rich_markup_mode=None)

QueueName = Annotated[str, typer.Argument(metavar="NAME", help="the queue's name", show_default=False)]


@app.command("list")
def list_queues(context: typer.Context, json: output.Json = False) -> None:
    """Every queue: paused or not, its limit, what uses it, what waits."""
    with connected(context) as client:
        queues = client.queues.list()
    if json:
        output.show_json({"data": queues})
        return
    output.show_table(
        ["QUEUE", "STATE", "LIMIT", "USED", "QUEUED"],
        [
            [
                queue.name,
                "open" if queue.paused_at is None else f"paused by {queue.paused_by} since {output.at(queue.paused_at)}",
                "none" if queue.limit is None else f"{queue.limit} ({queue.limit_source})",
                queue.used,
                queue.queued,
            ]
            for queue in queues
        ],
    )


@app.command("pause")
def pause(context: typer.Context, name: QueueName) -> None:
    """Stop claims from a queue: what waits keeps its place, what runs goes on."""
    with connected(context) as client:
        changed = client.queues.pause(name)
    print(f"{name} is paused" if changed else f"{name} was paused already")


@app.command("resume")
def resume(context: typer.Context, name: QueueName) -> None:
    """Let claims from a queue go on."""
    with connected(context) as client:
        changed = client.queues.resume(name)
    print(f"{name} is open" if changed else f"{name} was not paused")


@app.command("limit")
def limit(
    context: typer.Context,
    name: QueueName,
    size: Annotated[
        str, typer.Argument(metavar="N", help='so many runs at once over the whole fleet, or "none"', show_default=False)
    ],
) -> None:
    """Change how many runs of a queue may run at once; what runs already goes on. It outlasts deploys."""
    wanted = _size(size)
    with connected(context) as client:
        client.queues.limit(name, wanted)
    print(f"{name} has no limit" if wanted is None else f"{name} runs at most {wanted} at once")


def _size(text: str) -> int | None:
    if text.lower() == "none":
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    raise InvalidOption(f'the limit must be a whole number from 0, or "none", not {text!r}', option="limit")
