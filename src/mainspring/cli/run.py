"""``mainspring run …`` and ``mainspring enqueue``: make a run, look at runs and their ledgers, follow one, act on one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from mainspring.cli import output
from mainspring.cli.connecting import connected, load_app
from mainspring.errors import InvalidOption, PayloadInvalid

if TYPE_CHECKING:
    from mainspring.client import Client, Handle, Request
    from mainspring.core.events import Event
    from mainspring.operations.views import RunView

app = typer.Typer(help="Look at runs, follow one, act on one.", no_args_is_help=True, rich_markup_mode=None)

RunId = Annotated[str, typer.Argument(metavar="ID", help="the run's id", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why; written into the run's ledger.")]

#: Columns of a run that mean something only to the database.
_INTERNAL = {"lane_id", "policy_id", "seq", "payload_seq"}


@app.command("list")
def list_runs(
    context: typer.Context,
    state: Annotated[list[str] | None, typer.Option("--state", "-s", help="Only runs in this state; may be repeated.")] = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="Only runs of this task.")] = None,
    queue: Annotated[str | None, typer.Option("--queue", "-q", help="Only runs in this queue.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many, up to 500.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on after this: next_cursor of the page before.")] = None,
    json: output.Json = False,
) -> None:
    """Runs, newest first."""
    with connected(context) as client:
        page = client.runs.list(states=_split(state), task=task, queue=queue, limit=limit, cursor=cursor)
    if json:
        output.show_json({"data": [data_of(view) for view in page.data], "next_cursor": page.next_cursor})
        return
    show_runs(page.data)
    if page.next_cursor:
        output.tell(f"there may be more: --cursor {page.next_cursor}")


@app.command("get")
def get(context: typer.Context, run_id: RunId, json: output.Json = False) -> None:
    """One run: where it is and why, what it was given, how it ended."""
    with connected(context) as client:
        told: dict[str, Any] = {"why": client.runs.why(run_id), "attributes": client.runs.attributes(run_id) or None}
        found = data_of(client.runs.get(run_id)) | told | _told(list(ledger(client, run_id)))
    if json:
        output.show_json(found)
    else:
        output.show_fields(_trace_apart(found))


@app.command("events")
def events(context: typer.Context, run_id: RunId, json: output.Json = False) -> None:
    """The ledger of a run: all that ever happened to it."""
    with connected(context) as client:
        entries = list(ledger(client, run_id))
    if json:
        output.show_json({"data": entries})
        return
    output.show_table(
        ["SEQ", "AT", "EVENT", "STATE", "BY", "DATA"],
        [[entry.seq, output.at(entry.at), entry.type, entry.state, entry.actor, _said(entry)] for entry in entries],
    )


@app.command("attempts")
def attempts(context: typer.Context, run_id: RunId, json: output.Json = False) -> None:
    """The attempts of a run: who tried, when, and how each ended."""
    with connected(context) as client:
        tried: Any = client.runs.attempts(run_id)
    if json:
        output.show_json({"data": tried})
        return
    output.show_table(
        ["ATTEMPT", "WORKER", "CLAIMED", "ENDED", "OUTCOME", "CODE", "MESSAGE"],
        [
            [
                each.token,
                each.worker_id,
                output.at(each.claimed_at),
                output.at(each.ended_at),
                each.outcome,
                each.code,
                each.message,
            ]
            for each in tried
        ],
    )


@app.command("receipts")
def receipts(
    context: typer.Context,
    run_id: RunId,
    n: Annotated[int | None, typer.Argument(metavar="[N]", help="show this one, from 0, as far as it is kept", min=0)] = None,
    json: output.Json = False,
) -> None:
    """What the attempts of an HTTP request or a program left: a list, or one of them."""
    with connected(context) as client:
        if n is not None:
            kept = client.runs.receipt(run_id, n)
            output.show_json(msgspec.to_builtins(kept) | {"text": kept.text}) if json else print(kept.text)
            return
        rows: Any = client.runs.receipts(run_id)
    if json:
        output.show_json({"data": [row._asdict() | {"at": output.at(row.at)} for row in rows]})
        return
    output.show_table(
        ["N", "ATTEMPT", "KIND", "SIZE", "KEPT", "AT"],
        [[place, row.attempt, row.kind, row.size, row.kept, output.at(row.at)] for place, row in enumerate(rows)],
    )


@app.command("watch")
def watch(
    context: typer.Context,
    run_id: RunId,
    timeout: Annotated[str | None, typer.Option("--timeout", help="Stop watching after this long, such as 10m.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, one an event.")] = False,
) -> None:
    """Follow a run until it ends: 0 if it succeeded, 1 if not. Ctrl-C stops the watching and not the run."""
    with connected(context) as client:
        show = output.show_json_line if json else _show_event
        last = _follow(client, run_id, show, timeout)
    if not json:
        _show_end(last)
    raise typer.Exit(0 if last.state == "succeeded" else 1)


@app.command("cancel")
def cancel(
    context: typer.Context,
    run_id: RunId,
    reason: Annotated[str | None, typer.Option("--reason", help="Why; written into the run's ledger.")] = None,
) -> None:
    """Cancel a run: at once where nobody runs it, else its worker is told to stop."""
    with connected(context) as client:
        print(client.runs.cancel(run_id, reason=reason))


@app.command("retry")
def retry(context: typer.Context, run_id: RunId) -> None:
    """Try a failed or cancelled run again, as a new run; prints the new id."""
    with connected(context) as client:
        handle = client.runs.retry(run_id)
    if handle.outcome == "existing":
        output.tell("it is being tried again already")
    print(handle.id)


@app.command("resume")
def resume(context: typer.Context, run_id: RunId, reason: Reason) -> None:
    """Queue a run that needs attention again."""
    with connected(context) as client:
        client.runs.resume(run_id, reason)
    print("queued")


@app.command("fail")
def fail(context: typer.Context, run_id: RunId, reason: Reason) -> None:
    """Fail a run that needs attention."""
    with connected(context) as client:
        client.runs.fail(run_id, reason)
    print("failed")


@app.command("why")
def why(context: typer.Context, run_id: RunId, json: output.Json = False) -> None:
    """Why a run is where it is, in one line; `run explain` names everything that holds it."""
    with connected(context) as client:
        found = client.runs.explain(run_id)
    if json:
        output.show_json({"id": found.run_id, "state": found.state, "why": found.summary})
    else:
        print(f"{found.state}: {found.summary}")


def enqueue(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="the task's name", show_default=False)],
    payload: Annotated[
        str, typer.Argument(metavar="[JSON]", help='its arguments by name, such as \'{"to": "a@b"}\'; - reads them')
    ] = "{}",
    code: Annotated[
        str | None, typer.Option("--app", metavar="MODULE:APP", help="Check the task and its arguments against this App.")
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue", "-q", help="The queue; the task's own with --app, else default.")] = None,
    priority: Annotated[int | None, typer.Option("--priority", help="-1000 to 1000, higher first.")] = None,
    delay: Annotated[str | None, typer.Option("--delay", help="Not before so long from now, such as 10m.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Idempotency key: the same key gives the same run.")] = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", "-a", metavar="NAME=VALUE", help="To find it by; may be repeated.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end, and print the result as JSON.")] = False,
) -> None:
    """Create a run of a task by name; prints its id.

    Without --app nobody knows the task's own options: its worker checks the arguments, and retries, timeouts and keys are those of
    a task without any.
    """
    arguments = arguments_of(payload)
    options: Any = {"queue": queue, "priority": priority, "delay": delay, "key": key, "attributes": _attributes(attribute)}
    if code is not None:
        loaded = load_app(context, code)
        spec = loaded.registry.get(task)
        changed = loaded.registry.changed(spec.options, **options)
        request = spec.request(spec.about(loaded.namespace, changed), changed, (), arguments)
        _send(loaded.client, request, wait)
        loaded.close()
        return
    from mainspring.client.asking import Wish, request_by_name

    with connected(context, create=True) as client:
        wish = Wish(**{name: value for name, value in options.items() if value is not None})
        _send(client, request_by_name(client.namespace, task, arguments, wish), wait)


def show_runs(views: Sequence[RunView]) -> None:
    """Runs as a table."""
    output.show_table(
        ["ID", "TASK", "QUEUE", "STATE", "REASON", "ATTEMPTS", "CREATED"],
        [
            [
                view.run.id,
                view.task,
                view.queue,
                view.run.state,
                view.run.reason,
                view.run.token,
                output.at(view.run.created_at),
            ]
            for view in views
        ],
    )


def data_of(view: RunView) -> dict[str, Any]:
    """A run as JSON has it."""
    run = {name: value for name, value in output.plain(view.run).items() if name not in _INTERNAL}
    lane = {"task": view.task, "queue": view.queue, "priority": view.priority, "version": view.version}
    return {
        "id": run.pop("id"),
        **lane,
        "state": run.pop("state"),
        "attempts": run.pop("token"),
        **run,
        "progress": view.progress,
    }


def ledger(client: Client, run_id: str) -> Iterator[Event]:
    """Every event of a run, in order."""
    after = 0
    page: Any
    while page := client.runs.events(run_id, after=after):
        yield from page
        after = page[-1].seq


def _told(entries: list[Event]) -> dict[str, Any]:
    """What a run was given and how it ended, read off its ledger."""
    last = entries[-1]
    failed = last.state in {"failed", "upstream_failed", "retrying", "needs_attention"}
    return {
        "payload": output.stored(entries[0].body),
        "result": output.stored(last.body) if last.state == "succeeded" else None,
        "failure": output.plain(last.data) if failed else None,
    }


def _said(event: Event) -> dict[str, Any] | None:
    """What an event says to people; ``--json`` has all of it, and ``run get`` the traceback of a failure."""
    return {name: value for name, value in event.data.items() if name not in {"lane", "policy", "traceback"}} or None


def _trace_apart(found: dict[str, Any]) -> dict[str, Any]:
    """The traceback of a failure as a text of its own, which a terminal shows line by line."""
    failure = found["failure"]
    if not failure or "traceback" not in failure:
        return found
    rest = {name: value for name, value in failure.items() if name != "traceback"}
    return found | {"failure": rest, "traceback": failure["traceback"].rstrip()}


def _split(states: list[str] | None) -> list[str] | None:
    return [name.strip() for given in states for name in given.split(",")] if states else None


# -- following ---------------------------------------------------------------------------------------------------------


def _follow(client: Client, run_id: str, show: Callable[[Event], None], timeout: str | None) -> Event:
    """Show each event of a run as it comes; the last one."""
    from mainspring.core.durations import parse_duration
    from mainspring.core.states import TERMINAL
    from mainspring.waiting import drive, until

    seconds = None if timeout is None else parse_duration(timeout, option="--timeout") / 1e6
    seen: list[Event] = []
    progress = _Progress()

    def look() -> Event | None:
        fresh: Any = client.runs.events(run_id, after=seen[-1].seq if seen else 0)
        for event in fresh:
            seen.append(event)
            progress.clear()
            show(event)
        if seen[-1].state in TERMINAL:
            return seen[-1]
        progress.show(client.runs.get(run_id))
        return None

    try:
        return drive(until(look, timeout=seconds, what=f"run {run_id}"), client.hub, run_id)
    finally:
        progress.clear()


class _Progress:
    """The last line of a terminal, saying how far the run is. Silent elsewhere."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()
        self._shown = ""

    def show(self, view: RunView) -> None:
        text = f"{view.run.state} {_progress_text(view.progress)}".rstrip()
        if self._on and text != self._shown:
            print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
            self._shown = text

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
            self._shown = ""


def _progress_text(progress: Any) -> str:
    match progress:
        case None:
            return ""
        case {"done": done, "total": int() as total, **rest} if total:
            return f"{done}/{total} {rest.get('note') or ''}"
        case {"done": done, **rest}:
            return f"{done} {rest.get('note') or ''}"
        case other:
            return output.text_of(other)


def _show_event(event: Event) -> None:
    print(f"{output.at(event.at)}\t{event.type}\t{event.state}\t{output.text_of(_said(event))}".rstrip(), flush=True)


def _show_end(last: Event) -> None:
    if last.state == "succeeded":
        print(output.text_of(output.stored(last.body)) or "null")
    else:
        output.tell(f"{last.state}: {last.data.get('message') or last.data.get('reason') or 'no reason given'}")


# -- creating ----------------------------------------------------------------------------------------------------------


def arguments_of(text: str) -> dict[str, Any]:
    """The arguments of a task, as JSON; - reads standard input."""
    import msgspec

    try:
        return msgspec.json.decode(sys.stdin.read() if text == "-" else text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise PayloadInvalid(f'the arguments must be a JSON object such as \'{{"to": "a@b"}}\': {error}') from None


def _attributes(given: list[str] | None) -> dict[str, Any] | None:
    if given is None:
        return None
    pairs = [text.partition("=") for text in given]
    if odd := [text for text, (_, is_one, _) in zip(given, pairs, strict=True) if not is_one]:
        raise InvalidOption(f"{odd[0]!r} is no attribute; write name=value", option="--attribute")
    from mainspring.client.filters import value_of

    return {name: value_of(value) for name, _, value in pairs}


def _send(client: Client, request: Request, wait: bool) -> None:
    (handle,) = client.submit([request])
    if handle.outcome == "existing":
        output.tell("a run with this key exists already")
    if wait:
        _show_result(handle)
        return
    print(handle.id, flush=True)
    if (reason := client.runs.why(handle.id)) and reason.startswith("no live worker"):
        output.tell(f"it waits: {reason}")


def _show_result(handle: Handle[Any]) -> None:
    output.tell(f"run {handle.id}")
    output.show_json(handle.result())
