"""A registry whose tasks keep what they raise: a run's ledger has an exception's text, and a test wants the exception.

Here: wrapping a task's function without changing how it is called. Not here: what becomes of the exception (``draining``).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, NamedTuple

from mainspring.context import Context
from mainspring.core.signals import TaskSignal
from mainspring.registry import Registry, TaskSpec
from mainspring.testing.sandboxing import inside_task


class Raised(NamedTuple):
    """What a task raised (or returned, if that was a signal), and from where."""

    error: BaseException
    traceback: TracebackType | None


Keep = Callable[[str, Raised], None]


class RecordingRegistry(Registry):
    """The tasks of another registry. ``keep(run_id, raised)`` is called in the thread of the task.

    Tasks for processes run in threads, unless ``processes``; there nothing can be kept.
    """

    def __init__(self, registry: Registry, *, keep: Keep, processes: bool) -> None:
        super().__init__(queue=registry.default_queue)
        self._registry = registry
        self._keep = keep
        self._processes = processes

    def get(self, name: str) -> TaskSpec:
        """See ``Registry.get``."""
        spec = self._registry.get(name)
        if spec.executor == "process" and self._processes:
            return spec
        call = _Call(spec, self._keep)
        schema = spec.schema if spec.schema.context_at is not None else replace(spec.schema, context="context", context_at=0)
        if spec.executor == "async":
            return replace(spec, schema=schema, function=call.awaited)
        return replace(spec, schema=schema, function=call.plain, executor="thread")


class _Call:
    """A task's function, which is always given the context and passes it on where the function asks for it."""

    def __init__(self, spec: TaskSpec, keep: Keep) -> None:
        self._function = spec.function
        self._context_at = spec.schema.context_at
        self._keep = keep

    def plain(self, *values: Any) -> Any:
        """Call a function."""
        context, arguments = self._split(values)
        inside_task.set(True)
        try:
            result = self._function(*arguments)
        except BaseException as error:
            self._note(context, error)
            raise
        return self._looked_at(context, result)

    async def awaited(self, *values: Any) -> Any:
        """Call a coroutine function."""
        context, arguments = self._split(values)
        inside_task.set(True)
        try:
            result = await self._function(*arguments)
        except BaseException as error:
            self._note(context, error)
            raise
        return self._looked_at(context, result)

    def _split(self, values: Sequence[Any]) -> tuple[Context, Sequence[Any]]:
        if self._context_at is None:
            return values[0], values[1:]
        return values[self._context_at], values

    def _note(self, context: Context, error: BaseException) -> None:
        ours = error.__traceback__
        self._keep(context.run_id, Raised(error, ours.tb_next if ours is not None else None))

    def _looked_at(self, context: Context, result: Any) -> Any:
        if isinstance(result, TaskSignal):
            self._keep(context.run_id, Raised(result, None))
        return result
