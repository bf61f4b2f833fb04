"""Requests made from the OpenAPI document, right ones and wrong ones, against a server on loopback: no answer may surprise.

Here: the campaign, which the tests sample and ``python -m tests.web`` goes through at length. What counts as a surprise: a status,
a media type or a body that the document does not tell of; a wrong request that is accepted; a right one that is refused for its
form; a 500, ever. Not here: what an answer means.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok

from mainspring import App, Fail
from mainspring.client.asking import Wish, request_by_name
from mainspring.node import Node
from mainspring.web.access import Open
from mainspring.web.app import Application
from tests.cli.shell import wait_until

#: Refusals of the form of a request: a right one never meets them.
_OF_FORM = {"invalid_request", "malformed_json", "malformed_query", "malformed_path", "unsupported_media_type"}
#: Of a request that is right and comes to nothing we have rules of our own (``_OF_FORM``); the others need logins or sessions.
_LEFT_OUT = {
    "positive_data_acceptance",
    "ignored_auth",
    "use_after_free",
    "ensure_resource_availability",
    "object_level_authorization",
}


_PATIENCE_SECONDS = 60.0  # of one request, on a machine that has other things to do


@dataclass
class Tally:
    """What a campaign did."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)
    surprises: list[str] = field(default_factory=list)


@contextmanager
def listening(node: Node) -> Iterator[str]:
    """The server on a free port of loopback, in a thread; its address."""
    server = uvicorn.Server(uvicorn.Config(Application(node, Open()), port=0, log_config=None, access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, "the server listens")
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


def furnish(url: str) -> dict[str, list[str]]:
    """Put something of every kind into a database; the names by which paths find it."""
    app = App("shop", database=url)
    app.queue("mail", limit=3)
    app.task(name="greet")(lambda who="Ada": f"hello {who}")

    @app.task(name="lose", max_attempts=1)
    def lose() -> None:
        raise Fail("no_good", "it is no good")

    client = app.client
    lost = [client.enqueue("lose").id for _ in range(3)]
    done = [client.enqueue("greet").id for _ in range(2)]
    app.worker(poll="50ms", concurrency=2).run(until="drained")
    waiting = client.submit([request_by_name("default", "greet", {}, Wish(delay="1h", attributes={"n": n})) for n in range(3)])
    batch = client.batches.create([request_by_name("default", "greet", {}, Wish())], {})
    act = client.runs.preview(task="none").retry().begin()
    worker = client.workers()[0].id
    app.close()
    return {
        "run_id": [*lost, *done, *(handle.id for handle in waiting)],
        "batch_id": [batch.id],
        "action_id": [act],
        "name": ["mail", "default", "greet"],
        "worker_id": [worker],
        "scope": ["queue"],
        "measure": ["at_once"],
    }


def campaign(
    address: str, known: dict[str, list[str]], *, cases: int, start: int = 0, told: Callable[[str], None] | None = None
) -> Tally:
    """Ask every operation so often, half of it wrong."""
    load_all_checks()
    left_out: Any = [check for name, check in zip(CHECKS.get_all_names(), CHECKS.get_all(), strict=True) if name in _LEFT_OUT]
    schema = schemathesis.openapi.from_dict(requests.get(f"{address}/api/openapi.json", timeout=10).json())
    tally = Tally()
    with requests.Session() as session:
        for result in schema.get_all_operations():
            assert isinstance(result, Ok), result
            operation = result.ok()
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if mode is GenerationMode.NEGATIVE and not _can_be_wrong(operation):
                    continue
                one = partial(_one, address=address, mode=mode, session=session, left_out=left_out, tally=tally)
                try:
                    _ask(operation, mode, known, max(1, cases // 2), start, one)
                except (Exception, BaseExceptionGroup) as surprise:
                    tally.surprises.append(f"{operation.label} ({mode.value}): {_told(surprise)}")
            tally.operations.add(operation.label)
            if told is not None:
                told(f"{tally.cases:6} {operation.label}")
    return tally


def _told(surprise: BaseException) -> str:
    """What surprised, with what it was made of."""
    inner = "; ".join(map(_told, surprise.exceptions)) if isinstance(surprise, BaseExceptionGroup) else ""
    return f"{type(surprise).__name__}: {surprise}" + (f" ({inner})" if inner else "")


def _ask(operation: Any, mode: Any, known: dict[str, list[str]], cases: int, start: int, one: Callable[[Any], None]) -> None:
    names = [name for name in known if f"{{{name}}}" in operation.path]
    some = st.fixed_dictionaries({name: st.sampled_from(known[name]) for name in names}) if names else st.none()
    anything = operation.as_strategy(generation_mode=mode)
    something = some.flatmap(lambda found: operation.as_strategy(generation_mode=mode, path_parameters=found))
    wanted = st.one_of(something, anything) if names and mode is GenerationMode.POSITIVE else anything

    @seed(start)
    @settings(
        max_examples=cases, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        print_blob=False,
    )  # fmt: skip
    @given(case=wanted)
    def asked(case: Any) -> None:
        one(case)

    asked()


def _one(case: Any, *, address: str, mode: Any, session: requests.Session, left_out: Any, tally: Tally) -> None:
    if mode is GenerationMode.POSITIVE:
        case.query.pop("namespace", None)  # in another one there is nothing to ask about
    response = case.call_and_validate(base_url=address, session=session, excluded_checks=left_out, timeout=_PATIENCE_SECONDS)
    tally.cases += 1
    tally.statuses[response.status_code] += 1
    code = response.json().get("code") if response.status_code >= 400 and response.content else None
    assert code != "internal", response.text
    if mode is GenerationMode.POSITIVE:
        assert code not in _OF_FORM, f"{case.as_curl_command()}\n{response.text}"


def _can_be_wrong(operation: Any) -> bool:
    return bool(operation.body or operation.query or operation.path_parameters)
