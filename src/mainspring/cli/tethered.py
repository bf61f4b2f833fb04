"""``python -m mainspring.cli.tethered …``: the command ``mainspring``, which ends when whoever started it is gone.

Here: the watch. The other end of standard input is held by the parent alone; when it dies, by whatever signal, that ends, on every
system. Not here: what the command does.
"""

from __future__ import annotations

import os
import signal
import threading

from mainspring.cli.main import main


def watch(tether: int) -> None:
    """Until the tether ends; then ask this process to stop, as a person would."""
    while os.read(tether, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def run() -> None:
    """Take standard input as the tether, so that nothing else reads it, and be the command."""
    tether = os.dup(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=watch, args=[tether], name="tether", daemon=True).start()
    main()


if __name__ == "__main__":
    run()
