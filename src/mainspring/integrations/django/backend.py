"""A back end for ``django.tasks`` (Django 6, or the package ``django-tasks`` before it)::

    TASKS = {"default": {"BACKEND": "mainspring.integrations.django.backend.MainspringBackend", "QUEUES": ["default"]}}

A task is enqueued in the open ``transaction.atomic()`` of Mainspring's own database, if there is one, and is run by
``manage.py mainspring_worker``, at most three times as any task here (``OPTIONS = {"max_attempts": 1}``). Not here: tasks declared
with ``@app.task``, which say more.
"""

import builtins
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

try:
    import django.tasks as api
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import TaskContext, TaskError
    from django.tasks.exceptions import TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
except ImportError:  # Django before 6
    import django_tasks as api
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import TaskContext, TaskError
    from django_tasks.exceptions import TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued, task_finished, task_started
from django.utils.module_loading import import_string

from mainspring.app import App
from mainspring.codec import Keeping, decode_json
from mainspring.context import Context
from mainspring.core.events import Event
from mainspring.core.states import TERMINAL, EventType, State
from mainspring.errors import UnknownRun
from mainspring.integrations.django.settings import the_app
from mainspring.tasks import Task

__all__ = ["MainspringBackend", "TaskResultDoesNotExist", "api"]

_NAME = "django.task"
_PAGE = 500
_Status = api.TaskResultStatus


async def _execute(ctx: Context, path: str, backend: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """What a worker runs for each of them. A function that is not awaited runs in Django's thread."""
    task = import_string(path)
    result = _result(task, ctx.run_id, _Status.RUNNING, args, kwargs, backend)
    result.worker_ids.extend([""] * ctx.attempt)
    task_started.send(sender=MainspringBackend, task_result=result)
    given = [TaskContext(task_result=result), *args] if task.takes_context else args
    try:
        value = await task.acall(*given, **kwargs)
    except BaseException:
        object.__setattr__(result, "status", _Status.FAILED)
        task_finished.send(sender=MainspringBackend, task_result=result)
        raise
    object.__setattr__(result, "status", _Status.SUCCESSFUL)
    object.__setattr__(result, "_return_value", value)
    task_finished.send(sender=MainspringBackend, task_result=result)
    return value


class MainspringBackend(BaseTaskBackend):  # type: ignore[misc]  # Django has no types
    """``django.tasks`` over Mainspring."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self._app = the_app()
        for queue in sorted(self.queues):
            if queue not in self._app.registry.queues:
                self._app.queue(queue)
        self._task: Task[..., Any] = _declared(self._app, self.options)

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Enqueue it: in the open transaction of the database that Mainspring shares with Django, if there is one."""
        self.validate_task(task)
        chosen = self._task.options(queue=task.queue_name, priority=task.priority, at=task.run_after, using=_open_transaction())
        run = chosen.enqueue(path=task.module_path, backend=self.alias, args=list(args), kwargs=dict(kwargs))
        now = _instant(self._app.client.system.now())
        result = _result(task, run.id, _Status.READY, list(args), dict(kwargs), self.alias, enqueued_at=now)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> Any:
        """What is known of it."""
        try:
            view = self._app.runs.get(result_id)
        except (UnknownRun, ValueError):
            raise TaskResultDoesNotExist(result_id) from None
        if view.task != _NAME:
            raise TaskResultDoesNotExist(result_id)
        events = self._events(result_id)
        keeping = self._app.client.keeping
        told = decode_json(keeping.read_payload(next(event.body for event in events if event.body is not None), task=_NAME))
        result = _result(
            import_string(told["path"]), result_id, _status(view.run.state), told["args"], told["kwargs"], told["backend"],
            enqueued_at=_instant(view.run.created_at), finished_at=_instant(view.run.ended_at),
        )  # fmt: skip
        _tell_history(result, events, keeping)
        return result

    def _events(self, run_id: str) -> list[Event]:
        found: list[Event] = []
        while page := self._app.runs.events(run_id, after=found[-1].seq if found else 0):
            found += page
            if len(page) < _PAGE:
                break
        return found


def _declared(app: App, options: Mapping[str, Any]) -> Task[..., Any]:
    """The one task that all of them are; shared by every alias, with the options of the first."""
    if _NAME in app.registry.names():
        spec = app.registry.get(_NAME)
        return Task(app, spec, spec.function, spec.options)
    declared: Task[..., Any] = app.task(name=_NAME, **options)(_execute)
    return declared


def _open_transaction() -> str | None:
    from django.conf import settings
    from django.db import connections

    alias: str = getattr(settings, "MAINSPRING", {}).get("database", "default")
    return alias if alias in connections.settings and connections[alias].in_atomic_block else None


def _result(
    task: Any, run_id: str, status: Any, args: list[Any], kwargs: dict[str, Any], backend: str, **instants: datetime | None
) -> Any:
    known = dict.fromkeys(("enqueued_at", "started_at", "finished_at", "last_attempted_at")) | instants
    about = {"task": task, "id": run_id, "status": status, "args": args, "kwargs": kwargs, "backend": backend}
    return api.TaskResult(**about, **known, errors=[], worker_ids=[])


def _tell_history(result: Any, events: Sequence[Event], keeping: Keeping) -> None:
    for event in events:
        if event.type is EventType.CLAIMED:
            result.worker_ids.append(event.actor.removeprefix("worker:"))
            object.__setattr__(result, "started_at", result.started_at or _instant(event.at))
            object.__setattr__(result, "last_attempted_at", _instant(event.at))
        elif event.type in {EventType.FAILED, EventType.RETRY_SCHEDULED}:
            name = str(event.data.get("type") or "Exception")
            path = f"builtins.{name}" if hasattr(builtins, name) else "mainspring.errors.RunFailed"
            told = str(event.data.get("traceback") or event.data.get("message") or event.data.get("code"))
            result.errors.append(TaskError(exception_class_path=path, traceback=told))
        elif event.type is EventType.SUCCEEDED and event.body is not None:
            body = keeping.read_result(event.body, run_id=event.run_id)
            object.__setattr__(result, "_return_value", decode_json(body))


def _status(state: State) -> Any:
    if state is State.SUCCEEDED:
        return _Status.SUCCESSFUL
    if state in TERMINAL:
        return _Status.FAILED
    return _Status.RUNNING if state in {State.RUNNING, State.CANCELLING} else _Status.READY


def _instant(at: int | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at / 1e6, UTC)
