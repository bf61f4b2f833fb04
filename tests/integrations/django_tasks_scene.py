"""The program of ``test_django_tasks.py``: ``django.tasks`` over Mainspring. ``python -m … URL``."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings

postgres = urlsplit(sys.argv[1])
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": postgres.path[1:],
            "USER": postgres.username,
            "PASSWORD": unquote(postgres.password or ""),
            "HOST": postgres.hostname,
            "PORT": postgres.port,
        }
    },
    INSTALLED_APPS=["mainspring.integrations.django"],
    MAINSPRING={"name": "shop", "database": "default"},
    TASKS={
        "default": {
            "BACKEND": "mainspring.integrations.django.backend.MainspringBackend",
            "QUEUES": ["default", "mail"],
            "OPTIONS": {"max_attempts": 2, "backoff": ["1ms"]},
        }
    },
    USE_TZ=True,
)
django.setup()

from django.db import transaction  # noqa: E402  (after the settings)
from django.utils import timezone  # noqa: E402

from mainspring.integrations.django import app, backend  # noqa: E402
from mainspring.testing import invariants  # noqa: E402

task: Any = backend.api.task


@task(queue_name="mail", priority=5)  # type: ignore[untyped-decorator]
def adds(a: int, b: int) -> int:
    return a + b


@task  # type: ignore[untyped-decorator]
async def awaits(word: str) -> dict[str, str]:
    return {"said": word}


@task(takes_context=True)  # type: ignore[untyped-decorator]
def again(context: Any) -> int:
    if context.attempt == 1:
        raise ValueError("not yet")
    return int(context.attempt)


@task  # type: ignore[untyped-decorator]
def fails() -> None:
    raise RuntimeError("never")


def main() -> None:
    with transaction.atomic():
        sent = adds.enqueue(2, b=3)
        assert sent.status == "READY"
    with transaction.atomic():
        gone = adds.enqueue(1, b=1)
        transaction.set_rollback(True)
    try:
        adds.get_result(gone.id)
    except backend.TaskResultDoesNotExist:
        pass
    else:
        raise AssertionError("it was rolled back")
    spoken, tried, failed = awaits.enqueue("hello"), again.enqueue(), fails.enqueue()
    app.worker(poll="20ms").run(until="empty")
    later = adds.using(run_after=timezone.now() + timedelta(days=1)).enqueue(1, b=1)
    for result in (sent, spoken, tried, failed, later):
        result.refresh()
    assert sent.return_value == 5
    assert app.runs.get(sent.id).queue == "mail"
    assert app.runs.get(sent.id).priority == 5
    assert spoken.return_value == {"said": "hello"}
    assert tried.return_value == 2
    assert tried.attempts == 2
    assert tried.errors[0].exception_class is ValueError
    assert failed.status == "FAILED"
    assert "never" in failed.errors[-1].traceback
    assert failed.finished_at is not None
    assert later.status == "READY"
    assert later.started_at is None
    assert backend.api.task_backends["default"].supports_get_result
    invariants.check(app.client.database)
    app.close()


if __name__ == "__main__":
    main()
