"""What a database does not promise is refused by the calls that need it, and leaves nothing.

Here: the public calls. Not here: that what is promised is kept (``tests/conformance/test_storage_suite.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from mainspring import App, Context
from mainspring.core.limits import Limit
from mainspring.errors import CapabilityUnsupported
from mainspring.store import postgres, sqlite
from mainspring.store.database import Capabilities
from mainspring.transports import LocalTransport
from tests.api.conftest import Drain


def deny(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Have databases that are opened from now on give fewer promises."""
    denied = dict.fromkeys(names, False)
    monkeypatch.setattr(sqlite, "_CAPABILITIES", replace(sqlite._CAPABILITIES, **denied))
    monkeypatch.setattr(postgres, "Capabilities", partial(Capabilities, **denied))


def test_memory_is_called_neither_durable_nor_shared() -> None:
    app = App("here", database="sqlite:///:memory:")
    assert (app.capabilities.durable, app.capabilities.process_local) == (False, True)
    app.close()


def test_a_file_and_a_server_are_called_durable_and_shared(app: App, back_end: str) -> None:
    assert (app.capabilities.durable, app.capabilities.process_local) == (True, False)
    assert app.capabilities.notify == (back_end == "postgres")
    assert app.capabilities.lends_connections == (back_end == "sqlite")


CALLS: dict[str, Callable[[App, Any], Any]] = {
    "idempotency": lambda _, task: task.options(key="k").enqueue(),
    "singleton": lambda _, task: task.options(singleton="s").enqueue(),
    "transactional_enqueue": lambda _, task: task.options(using=object()).enqueue(),
    "limits": lambda app, _: app.limits.set("queue", "default", Limit(1)),
    "prunes": lambda app, _: app.runs.prune(),
    "leases": lambda _, task: task.run_now(),
}


@pytest.mark.parametrize("denied", CALLS)
def test_a_call_that_needs_what_is_not_promised_is_refused_and_leaves_nothing(
    denied: str, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task
    def task() -> None: ...

    deny(monkeypatch, denied)
    with pytest.raises(CapabilityUnsupported, match=denied) as refused:
        CALLS[denied](app, task)
    assert refused.value.details["capability"] == denied
    assert app.runs.counts() == {}
    assert app.limits.list() == []


def test_a_queue_with_deliveries_is_refused_as_the_app_connects(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    deny(monkeypatch, "deliveries")
    app.queue("mail", delivery=LocalTransport())
    with pytest.raises(CapabilityUnsupported, match="delivery="):
        _ = app.client


def test_an_attempt_is_told_before_its_work_that_no_transaction_can_conclude_it(
    app: App, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    @app.task(max_attempts=1)
    def task(ctx: Context) -> None:
        with ctx.transaction():
            begun.append(ctx.run_id)

    deny(monkeypatch, "transactional_enqueue")
    handle = task.enqueue()
    drain(app)
    assert not begun
    assert app.runs.get(handle.id).run.state == "failed"
