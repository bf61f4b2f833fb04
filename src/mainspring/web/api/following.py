"""Following one run: the entries of its ledger as they are written, until it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from mainspring.core.events import Event
from mainspring.core.states import TERMINAL
from mainspring.errors import InvalidOption, UnknownRun, WorldTrouble, shown
from mainspring.web.api.found import event as told_event
from mainspring.web.endpoints import Asked
from mainspring.web.frames import HEARTBEAT, frame
from mainspring.web.streams import Streams


async def follow_run(streams: Streams, asked: Asked[Any, Any], after: str | None) -> AsyncIterator[bytes] | None:
    """The ledger of a run from after an entry on; None: the run has ended, and there will be no more.

    Raises:
        UnknownRun: there is none. InvalidOption: the place is none.
    """
    seq = _seq(after if after is not None else asked.query.cursor)
    run_id = asked.path["run_id"]
    first = await asyncio.to_thread(asked.client.runs.events, run_id, after=seq)
    if not first:
        view = await asyncio.to_thread(asked.client.runs.get, run_id)
        if view.run.is_terminal:
            return None
    return _frames(streams, asked, seq, first)


async def _frames(streams: Streams, asked: Asked[Any, Any], seq: int, first: list[Event]) -> AsyncIterator[bytes]:
    run_id, fresh, silent = asked.path["run_id"], first, 0.0
    while True:
        for event in fresh:
            seq, silent = event.seq, 0.0
            yield frame("event", told_event(event), place=str(seq))
        if fresh and fresh[-1].state in TERMINAL:
            yield frame("end", {"state": fresh[-1].state})
            return
        if len(fresh) < 500 and await streams.pause(streams.look_seconds):
            return
        silent += streams.look_seconds
        if silent >= streams.heartbeat_seconds:
            silent = 0.0
            yield HEARTBEAT
        try:
            fresh = await asyncio.to_thread(asked.client.runs.events, run_id, after=seq)
        except WorldTrouble:  # the database is away for a moment
            fresh = []
        except UnknownRun:  # it was pruned meanwhile
            return


def _seq(place: str | None) -> int:
    if place is None:
        return 0
    if not (place.isascii() and place.isdigit() and len(place) < 10):
        raise InvalidOption(f"{shown(place)} is no place in a ledger; give the id of an event of it", option="Last-Event-ID")
    return int(place)
