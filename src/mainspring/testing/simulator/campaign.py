"""Many stories, shared among processes. Not here: one story (``simulation``), and what is said of it (``__main__``)."""

import gc
import logging
import multiprocessing
from collections.abc import Iterator

from mainspring.testing.simulator.simulation import Report, simulate

_CHUNK = 8


def play_all(seeds: range, jobs: int) -> Iterator[Report]:
    """The stories of these seeds, in no order where several processes share them."""
    if jobs == 1:
        yield from map(simulate, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, initializer=settle_in) as pool:
        yield from pool.imap_unordered(simulate, seeds, chunksize=_CHUNK)


def settle_in() -> None:
    """Make a process one that does nothing but play stories."""
    logging.disable(logging.CRITICAL)  # trouble is what they are about
    gc.freeze()  # a story makes much and leaves nothing: to look for cycles in it is a tenth of its time
    gc.set_threshold(100_000, 50, 50)
