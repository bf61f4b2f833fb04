"""A stream of items, sent chunk by chunk: what ``enqueue_many`` is for more than one transaction can hold."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar

from mainspring.client.handles import Handle
from mainspring.errors import InvalidOption, MainspringError, shown

R = TypeVar("R")
OnChunk = Callable[[int, list[Handle[R]]], None]

_MOST = 10_000


def stream(
    send: Callable[[Sequence[Any]], list[Handle[R]]], items: Iterable[Any], *, chunk: int, on_chunk: OnChunk[R] | None
) -> int:
    """Send items in chunks, each in a transaction of its own; the index of the last item, -1 if there was none.

    Raises:
        InvalidOption: a chunk of less than one or more than 10,000 items. Whatever ``send`` raises carries
            ``details["last_committed"]``.
    """
    if not isinstance(chunk, int) or isinstance(chunk, bool) or not 1 <= chunk <= _MOST:
        raise InvalidOption(f"chunk must be a whole number from 1 to {_MOST:,}, not {shown(chunk)}", option="chunk")
    last, left = -1, iter(items)
    while some := list(islice(left, chunk)):
        try:
            handles = send(some)
        except MainspringError as error:
            error.details["last_committed"] = last
            raise
        last += len(some)
        if on_chunk is not None:
            on_chunk(last, handles)
    return last
