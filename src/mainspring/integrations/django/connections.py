"""What Django does round each request, done round each attempt: connections of this thread that are old or broken are closed.

Not here: connections of Mainspring's own.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any


def with_connections_closed(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, with ``close_old_connections`` before and after each call."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            from asgiref.sync import sync_to_async
            from django.db import close_old_connections

            close = sync_to_async(close_old_connections)  # in the one thread where the awaited twins of the ORM run too
            await close()
            try:
                return await function(*args, **kwargs)
            finally:
                await close()

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        from django.db import close_old_connections

        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return called
