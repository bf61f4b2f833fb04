"""The independent ledger: what jobs and producers saw themselves, a JSON line each, on disk before they go on.

Here: writing and reading lines. Not here: what lines mean (``evidence``). Each process appends to a file of its own, one
``write`` and one ``fsync`` a line, so a SIGKILL leaves whole lines and at most half of a last one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from mainspring import Context


def now() -> int:
    """UTC microseconds; all processes of a trial share one machine and so one clock."""
    return time.time_ns() // 1000


class Ledger:
    """The file of one process, or of one child that works for it. Any thread may write."""

    def __init__(self, folder: Path, process: str, *, child: int | None = None) -> None:
        self.process = process
        name = process if child is None else f"{process}-{child}"
        self._file = os.open(folder / f"{name}.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)

    def write(self, what: str, **told: Any) -> None:
        """Append a line; it is durable when this returns."""
        line = msgspec.json.encode({"what": what, "by": self.process, "at": now(), **told})
        os.write(self._file, line + b"\n")
        os.fsync(self._file)

    @contextmanager
    def attempt(self, ctx: Context) -> Iterator[list[Any]]:
        """Write down that user code begins and how it ends; what the block puts into the list is its result."""
        about = {"run": ctx.run_id, "token": ctx.token}
        self.write("begin", **about, checkpoint=ctx.checkpoint)
        result: list[Any] = []
        try:
            yield result
        except BaseException as error:
            self.write("stop", **about, value=type(error).__name__)
            raise
        self.write("end", **about, value=result[-1])


def read_lines(folder: Path) -> Iterator[dict[str, Any]]:
    """Every whole line of every process."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for path in sorted(folder.glob("*.jsonl")):
        *whole, _torn = path.read_bytes().split(b"\n")
        yield from map(decode, whole)
