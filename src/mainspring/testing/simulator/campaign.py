"""Many stories, shared among processes. Not here: one story (``simulation``), and what is said of it (``__main__``)."""

import contextlib
import gc
import logging
import multiprocessing
from collections.abc import Iterator

from mainspring.testing.simulator.simulation import Report, simulate
from mainspring.testing.simulator.world import Stage

_PART = 50


def play_all(seeds: range, jobs: int) -> Iterator[Report]:
    """The stories of these seeds, in no order where several processes share them."""
    if jobs == 1:
        yield from _played(seeds)
        return
    parts = [seeds[place : place + _PART] for place in range(0, len(seeds), _PART)]
    with multiprocessing.get_context("spawn").Pool(jobs, initializer=settle_in) as pool:
        for reports in pool.imap_unordered(_play, parts):
            yield from reports


def settle_in() -> None:
    """Make a process one that does nothing but play stories."""
    logging.disable(logging.CRITICAL)  # trouble is what they are about
    gc.freeze()  # a story makes much and leaves nothing: to look for cycles in it is a tenth of its time
    gc.set_threshold(100_000, 50, 50)


def _play(seeds: range) -> list[Report]:
    return list(_played(seeds))


def _played(seeds: range) -> Iterator[Report]:
    with contextlib.closing(Stage()) as stage:
        for seed in seeds:
            yield simulate(seed, stage=stage)
