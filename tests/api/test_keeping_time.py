"""How long what has ended is kept: who says it, and that it is captured with the run.

Here: the options. Not here: forgetting (``tests/conformance/test_retention.py``).
"""

from __future__ import annotations

from typing import Any

import pytest

from mainspring import App
from mainspring.core.durations import DAY, SECOND
from mainspring.core.policy import Policy
from mainspring.errors import InvalidOption
from tests.api.conftest import Drain


def said(task: Any) -> tuple[int, int, int]:
    """How long runs, results and receipts of a task's runs are kept."""
    policy: Policy = task._options.policy
    return policy.run_ttl_us, policy.result_ttl_us, policy.receipt_ttl_us


def test_the_task_says_it_before_its_queue_and_the_queue_before_the_app() -> None:
    app = App("shop", database="sqlite:///:memory:", run_ttl="90d", result_ttl="3d")
    app.queue("mail", run_ttl="10d", receipt_ttl="2d")

    @app.task(queue="mail", run_ttl="1d")
    def own() -> None: ...

    @app.task(queue="mail")
    def queued() -> None: ...

    @app.task
    def plain() -> None: ...

    assert said(own) == (DAY, 3 * DAY, 2 * DAY)
    assert said(queued) == (10 * DAY, 3 * DAY, 2 * DAY)
    assert said(plain) == (90 * DAY, 3 * DAY, 14 * DAY)
    assert said(plain.options(queue="mail")) == (10 * DAY, 3 * DAY, 2 * DAY)


def test_a_queue_cannot_change_what_its_tasks_have_been_told() -> None:
    app = App("shop", database="sqlite:///:memory:")

    @app.task
    def task() -> None: ...

    app.queue("default", limit=3)  # says nothing of it
    with pytest.raises(InvalidOption, match="before its tasks"):
        app.queue("default", run_ttl="1d")


@pytest.mark.parametrize("option", ["run_ttl", "result_ttl", "receipt_ttl"])
def test_a_time_that_is_none_is_refused_at_import_by_name(option: str) -> None:
    app = App("shop", database="sqlite:///:memory:")

    def task() -> None: ...

    for declare in (lambda: app.task(**{option: "soon"})(task), lambda: app.queue("q", **{option: "-1s"})):  # type: ignore[arg-type, call-overload]
        with pytest.raises(InvalidOption) as refused:
            declare()
        assert refused.value.details["option"] == option


def test_what_a_run_was_created_with_is_what_it_is_kept_by(app: App, drain: Drain) -> None:
    @app.task(run_ttl="1s", result_ttl="0s")
    def task() -> str:
        return "done"

    handle = task.enqueue()
    drain(app)
    row = app.client.database.read("policies.all", lambda tx: tx.rows("policies.all"))
    assert any(f'"run_ttl_us":{SECOND}' in body.replace(" ", "") for _, body in row)
    assert app.runs.get(handle.id).run.state == "succeeded"
