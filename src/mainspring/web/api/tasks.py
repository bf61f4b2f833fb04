"""Endpoints of tasks, as far as a server without code knows them: by what live workers say they can run."""

from __future__ import annotations

import msgspec

from mainspring.client import Client
from mainspring.errors import UnknownTask
from mainspring.web.api.shapes import PageQuery, paged
from mainspring.web.endpoints import Asked, Nothing, Scoped, reads


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task that some live worker knows: how many do, and the queues that those serve."""

    name: str
    workers: int
    queues: list[str]


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of tasks, by name."""

    data: list[Task]
    next_cursor: str | None


def list_tasks(asked: Asked[PageQuery, Nothing]) -> TaskPage:
    """The tasks that live workers know, by name."""
    query = asked.query
    page, cursor = paged(_known(asked.client), lambda task: task.name, limit=query.limit, cursor=query.cursor)
    return TaskPage(data=page, next_cursor=cursor)


def get_task(asked: Asked[Scoped, Nothing]) -> Task:
    """One task."""
    name = asked.path["name"]
    for task in _known(asked.client):
        if task.name == name:
            return task
    raise UnknownTask(f"no live worker of namespace {asked.client.namespace!r} knows a task {name!r}")


def _known(client: Client) -> list[Task]:
    live = [worker for worker in client.workers() if worker.state == "live"]
    queues: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for worker in live:
        for name in worker.tasks:
            queues.setdefault(name, set()).update(worker.queues)
            counts[name] = counts.get(name, 0) + 1
    return [Task(name=name, workers=count, queues=sorted(queues[name])) for name, count in counts.items()]


ENDPOINTS = (
    reads("/tasks", "tasks.list", list_tasks, query=PageQuery, gives=TaskPage),
    reads("/tasks/{name}", "tasks.get", get_task, query=Scoped, gives=Task, refusals=(UnknownTask,)),
)
