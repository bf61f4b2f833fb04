"""A worker that lives beside a test, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mainspring import App
from tests.cli.shell import wait_until


@contextmanager
def living_worker(app: App) -> Iterator[None]:
    """A worker of this app for the length of the block."""
    worker = app.worker(poll="50ms", concurrency=2)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(lambda: any(each.state == "live" for each in app.workers), "a worker is there")
        yield
    finally:
        worker.stop()
        thread.join()
