"""Live streams: one watcher a namespace reads the newest entries of all ledgers, and hands them to everybody who follows.

Each reader has a bounded queue. One who does not keep up is told that it lost events and after which one to go on, and is let go;
whoever names that one (``Last-Event-ID``) gets what came after it from the database. Everything here runs in the event loop, and
reads in threads. Not here: what an event says (``api/events.py``), and a single run's ledger (``following.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from mainspring.core.durations import SECOND
from mainspring.errors import WorldTrouble
from mainspring.node import Node
from mainspring.operations import feed
from mainspring.operations.feed import Entry, Place
from mainspring.web.frames import HEARTBEAT, frame
from mainspring.web.problems import Refused

log = logging.getLogger("mainspring")

T = TypeVar("T")

LOOK_SECONDS = 0.5
HEARTBEAT_SECONDS = 15.0
MOST_STREAMS = 200
MOST_QUEUED = 1_000
PAGE = 500
_CHUNK = 2_000
_MOST_CHUNKS = 10
#: How far back each look goes again: for transactions that took so long to commit.
_OVERLAP_US = 2 * SECOND
_MOST_SEEN = 100_000


class Streams:
    """All that is followed in this process. ``stop`` ends every stream, so that a server can end."""

    def __init__(self, node: Node, *, look_seconds: float = LOOK_SECONDS, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self.node = node
        self.look_seconds = look_seconds
        self.heartbeat_seconds = heartbeat_seconds
        self.stopping = asyncio.Event()
        self._open = 0
        self._watchers: dict[str, Watcher] = {}

    def stop(self) -> None:
        """End every stream; in the loop."""
        self.stopping.set()

    @contextlib.contextmanager
    def place_for_one(self) -> Any:
        """Room for one more stream.

        Raises:
            Refused: there are too many.
        """
        if self._open >= MOST_STREAMS:
            raise Refused(503, "too_many_streams", f"{MOST_STREAMS} streams are open here", headers={"Retry-After": "5"})
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def bounded(self, frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A stream that counts as one as long as it is read."""
        with self.place_for_one():
            async for each in frames:
                yield each

    def watcher(self, namespace: str) -> Watcher:
        """Whoever watches a namespace; it begins with the first reader and ends with the last."""
        found = self._watchers.get(namespace)
        if found is None:
            found = self._watchers[namespace] = Watcher(self, namespace)
        return found

    async def pause(self, seconds: float) -> bool:
        """Wait; True: the server is about to end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)
        return self.stopping.is_set()

    async def read(self, name: str, fn: Callable[..., T]) -> T:
        """Read from the database, in a thread."""
        return await asyncio.to_thread(self.node.database.read, name, fn)


class Reader:
    """One who follows a namespace: what is to be told, and whether some of it was lost."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Entry] = asyncio.Queue(MOST_QUEUED)
        self.is_lost = False

    def put(self, entry: Entry) -> bool:
        """Tell of an entry. False: there is no room, and nothing will be told any more."""
        try:
            self.queue.put_nowait(entry)
        except asyncio.QueueFull:
            self.is_lost = True
        return not self.is_lost


class Watcher:
    """Reads what is new in a namespace, for all who follow it."""

    def __init__(self, streams: Streams, namespace: str) -> None:
        self._streams = streams
        self._namespace = namespace
        self._readers: set[Reader] = set()
        self._seen: OrderedDict[Place, None] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self.newest = Place(0)

    async def join(self) -> Reader:
        """A new reader, who is told of everything from now on."""
        reader = Reader()
        if self._task is None or self._task.done():
            self.newest = Place(await self._streams.read("feed.now", lambda tx: tx.now))
            if self._task is None or self._task.done():  # not meanwhile, by another reader
                self._seen.clear()
                await self._look()  # what is there already is no news
                self._task = asyncio.create_task(self._watch())
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """Nobody reads this any more."""
        self._readers.discard(reader)

    async def after(self, place: Place) -> list[Entry]:
        """What came after a place, from the database."""
        return await self._streams.read("feed.after", lambda tx: feed.after(tx, self._namespace, place, most=PAGE))

    async def _watch(self) -> None:
        while self._readers and not await self._streams.pause(self._streams.look_seconds):
            try:
                await self._look()
            except WorldTrouble as error:
                log.warning("the stream of namespace %s waits for the database: %s", self._namespace, error)

    async def _look(self) -> None:
        """Hand out what is new. More than can be read at once is passed over, and every reader is told."""
        cursor = Place(max(0, self.newest.at - _OVERLAP_US))
        for _ in range(_MOST_CHUNKS):
            some = await self._streams.read(
                "feed.after",
                lambda tx, at=cursor: feed.after(tx, self._namespace, at, most=_CHUNK),
            )
            for entry in some:
                if entry.place not in self._seen:
                    self._seen[entry.place] = None
                    self._tell(entry)
            if some:
                cursor = some[-1].place
                self.newest = max(self.newest, cursor)
            if len(some) < _CHUNK:
                break
        else:
            self._lose_all()
            self.newest = Place(await self._streams.read("feed.now", lambda tx: tx.now))
        self._forget()

    def _tell(self, entry: Entry) -> None:
        for reader in [each for each in self._readers if not each.put(entry)]:
            self._readers.discard(reader)

    def _lose_all(self) -> None:
        for reader in self._readers:
            reader.is_lost = True
        self._readers.clear()

    def _forget(self) -> None:
        """What is too old to be read again need not be remembered."""
        oldest = Place(self.newest.at - _OVERLAP_US)
        while self._seen and (len(self._seen) > _MOST_SEEN or next(iter(self._seen)) < oldest):
            self._seen.popitem(last=False)


async def follow(streams: Streams, namespace: str, after: Place | None, tell: Callable[[Entry], Any]) -> AsyncIterator[bytes]:
    """The entries of all ledgers of a namespace as frames: those after a place, and then as they come."""
    watcher = streams.watcher(namespace)
    told: set[Place] = set()
    if after is not None:
        while True:
            page = await watcher.after(after)
            for entry in page:
                yield frame("event", tell(entry), place=str(entry.place))
            after = page[-1].place if page else after
            if len(page) < PAGE:
                break
    reader = await watcher.join()
    try:
        last = after or watcher.newest
        yield frame("ready", {"after": str(last)}, place=str(last))
        for entry in await watcher.after(after) if after is not None else ():  # what came between that and joining
            told.add(entry.place)
            last = entry.place
            yield frame("event", tell(entry), place=str(entry.place))
        async for coming in _entries(streams, reader):
            if coming is None:
                yield HEARTBEAT
            elif coming.place not in told:
                last = coming.place
                yield frame("event", tell(coming), place=str(last))
        if reader.is_lost:
            yield frame("lost", {"resume_after": str(last)})
    finally:
        watcher.leave(reader)


async def _entries(streams: Streams, reader: Reader) -> AsyncIterator[Entry | None]:
    """What a reader is told; None now and then, so that the other side knows that we live. Ends with the server, or with a loss."""
    stopping = asyncio.create_task(streams.stopping.wait())
    try:
        while not streams.stopping.is_set():
            if reader.is_lost and reader.queue.empty():
                return
            yield await _next(reader.queue.get(), stopping, streams.heartbeat_seconds if not reader.is_lost else 0.05)
    finally:
        stopping.cancel()


async def _next(coming: Awaitable[T], stopping: asyncio.Task[Any], seconds: float) -> T | None:
    """What comes, or None when nothing came for so long, or the server is about to end."""
    get = asyncio.ensure_future(coming)
    try:
        await asyncio.wait([get, stopping], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return get.result() if get.done() else None
    finally:
        get.cancel()
