"""The app of the worker process: a task that says when it began."""

from __future__ import annotations

import time

from mainspring import App

app = App("transports")


@app.task(name="began")
def began(n: int) -> float:
    """The moment of its start, by the machine's clock."""
    return time.time()
