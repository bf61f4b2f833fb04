"""``mainspring doctor``: look at settings, programs, database and fleet, and say what to do about what is wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from mainspring import config
from mainspring.cli import output
from mainspring.cli.connecting import app_database, flags_of, load_app, open_client, quiet_drivers, sqlite_file
from mainspring.errors import MainspringError

if TYPE_CHECKING:
    from mainspring.app import App
    from mainspring.client import Client

Verdict = Literal["ok", "note", "warning", "problem"]

_CLOCK_BOUND_US = 1_000_000
_SAMPLE = 500


class Line(NamedTuple):
    """One thing looked at: what, how it is, and what to do where it is not well."""

    subject: str
    verdict: Verdict
    found: str
    advice: str = ""


def doctor(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[MODULE:APP]", help="look at this App and its database", show_default=False)
    ] = None,
    json: output.Json = False,
) -> None:
    """Look at everything and say what to do. 1 if there is a problem. Changes nothing."""
    quiet_drivers()
    lines = list(_look(context, name))
    if json:
        output.show_json({"data": [line._asdict() for line in lines]})
    else:
        output.show_table(["WHAT", "VERDICT", "FOUND", "WHAT TO DO"], lines)
    if any(line.verdict == "problem" for line in lines):
        raise typer.Exit(1)


def _look(context: typer.Context, name: str | None) -> Iterator[Line]:
    settings = flags_of(context).settings()
    app = load_app(context, name) if name else None
    yield from _programs()
    yield from (_setting(value) for value in settings.values())
    url, namespace = settings["database"].text, settings["namespace"].text
    if app is not None:
        url, namespace = app_database(app), app.namespace
        yield Line("app", "ok", f"{app.name}: tasks {', '.join(app.registry.names()) or 'none'}; {config.without_password(url)}")
    yield from _libraries(url)
    yield from _database(url, namespace, app)


def _programs() -> Iterator[Line]:
    from mainspring import __version__

    yield Line("mainspring", "ok", __version__)
    yield Line("python", "ok", f"{sys.version.split()[0]} ({sys.executable})")


def _setting(value: config.Value) -> Line:
    return Line(value.setting.name, "ok", f"{value.shown} ({value.origin})")


def _libraries(url: str) -> Iterator[Line]:
    """A second SQLite in the process is harmless until it opens our file: POSIX locks are dropped by whoever closes first."""
    if sqlite_file(url) is not None and "_sqlite3" in sys.modules:
        yield Line(
            "second sqlite",
            "note",
            "this program also loads Python's own sqlite3, another copy of the library",
            "never open this database file with it in the same process; use app.connection()",
        )


def _database(url: str, namespace: str, app: App | None) -> Iterator[Line]:
    file = sqlite_file(url)
    if file is not None:
        yield _folder(file)
        if not file.exists():
            yield Line("database", "note", f"{file} is not there yet", "start a worker, or: mainspring db migrate")
            return
    try:
        client = open_client(url, namespace, create=False)
    except MainspringError as error:
        yield Line("database", "problem", error.message, _remedy(error))
        return
    try:
        yield from _facts(client)
        yield from _fleet(client, app)
    finally:
        client.close()


def _remedy(error: MainspringError) -> str:
    match error.code:
        case "schema_older":
            return "mainspring db migrate"
        case "schema_newer":
            return "install a newer Mainspring here"
        case "storage_unwritable":
            return "choose another file or folder, or change who may write there"
        case _:
            return "start the server, or correct --db, MAINSPRING_DATABASE or mainspring.toml"


def _folder(file: Path) -> Line:
    place = file if file.exists() else file.parent
    if not place.exists():
        return Line("file", "problem", f"there is no folder {place}", f"make it: mkdir -p {place}")
    if not os.access(place, os.W_OK) or not os.access(file.parent, os.W_OK):
        return Line("file", "problem", f"{place} cannot be written by this user", "change who may write there, or choose another")
    return Line("file", "ok", f"{file.absolute()} can be written")


def _facts(client: Client) -> Iterator[Line]:
    from mainspring.core.durations import format_duration
    from mainspring.store.inspection import facts

    found = facts(client.database, client.system.now())
    yield Line("database", "ok", f"{found.kind} {found.server} ({found.driver}), schema current")
    given = client.database.capabilities.as_data()
    denied = ", ".join(name for name, is_given in given.items() if not is_given)
    yield Line("promises", "ok", ", ".join(name for name, is_given in given.items() if is_given) + f"; not: {denied}")
    if found.journal is not None:
        is_wal = found.journal == "wal"
        yield Line(
            "journal",
            "ok" if is_wal else "problem",
            found.journal,
            "" if is_wal else "put the file on a local disk: WAL needs one",
        )
    if found.behind_us is not None:
        far = abs(found.behind_us) > _CLOCK_BOUND_US
        advice = "let this machine's clock be set by NTP; leases go by the server's clock, delays by it too" if far else ""
        yield Line("clock", "warning" if far else "ok", f"{format_duration(abs(found.behind_us))} from the server's", advice)


def _fleet(client: Client, app: App | None) -> Iterator[Line]:
    now = client.database.read("clock.now", lambda tx: tx.now)
    live = [worker for worker in client.workers() if worker.state == "live" and worker.expires_at > now]
    yield Line(
        "workers",
        "ok" if live else "warning",
        f"{len(live)} live" + "".join(f"; {worker.id} ({', '.join(worker.queues)})" for worker in live[:5]),
        "" if live else "start one: mainspring worker MODULE:APP",
    )
    yield from _queues(client)
    yield from _unserved(client, live, app)


def _queues(client: Client) -> Iterator[Line]:
    for queue in client.queues.list():
        if queue.paused_at is not None:
            found = f"paused by {queue.paused_by} since {output.at(queue.paused_at)}, {queue.queued} waiting"
            yield Line(f"queue {queue.name}", "warning", found, f"mainspring queue resume {queue.name}")
        if queue.limit == 0:
            yield Line(
                f"queue {queue.name}",
                "warning",
                f"its limit is 0, {queue.queued} waiting",
                f"mainspring queue limit {queue.name} N",
            )


def _unserved(client: Client, live: list[Any], app: App | None) -> Iterator[Line]:
    """Tasks among the newest waiting runs that no live worker has."""
    waiting = client.runs.list(states=["queued"], limit=_SAMPLE).data
    for task, queue in sorted({(view.task, view.queue) for view in waiting}):
        if any(task in worker.tasks and queue in worker.queues for worker in live):
            continue
        known = app is not None and task in app.registry.names()
        advice = (
            "start a worker of this App"
            if known
            else "start a worker whose code has this task (was it renamed? give the new one aliases=)"
        )
        yield Line(
            f"task {task}", "problem" if live else "warning", f"runs wait in queue {queue}, and no live worker has it", advice
        )
