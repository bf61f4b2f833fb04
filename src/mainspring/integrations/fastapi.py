"""FastAPI: a worker for as long as the server lives, and a dependency that enqueues in the request's own session.

Imports nothing of FastAPI. Not here: routes over runs.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ParamSpec, TypeVar

from mainspring.app import App
from mainspring.tasks import Task

P = ParamSpec("P")
R = TypeVar("R")


def lifespan(app: App, *, worker: bool = True, **options: Any) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """``FastAPI(lifespan=lifespan(app, concurrency=4))``: a worker in the server's event loop, with options as of ``app.worker``;
    it stops in order as the server does, and the app is closed. ``worker=False`` leaves the work to processes of its own.

    In a lifespan of your own write ``async with app.running(concurrency=4):``.
    """

    @asynccontextmanager
    async def life(_: Any) -> AsyncIterator[None]:
        try:
            if worker:
                async with app.running(**options):
                    yield
            else:
                yield
        finally:
            app.close()

    return life


class Sender:
    """``send(task)`` is the task with ``using=`` the request's session: what is enqueued through it exists if that commits."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def __call__(self, task: Task[P, R]) -> Task[P, R]:
        """The same task, in the request's transaction."""
        return task.options(using=self._session)


def sender(session: Any) -> Callable[..., Sender]:
    """A dependency that gives a ``Sender``. ``session`` is the annotation of your session's dependency::

    SessionDep = Annotated[Session, Depends(open_session)]
    Send = Annotated[Sender, Depends(sender(SessionDep))]
    """

    def dependency(session: Any) -> Sender:
        return Sender(session)

    dependency.__annotations__["session"] = session
    return dependency
