"""One worker process of the demo: ``python -m examples.index_tree.work NAME LEASE CONCURRENCY``.

It does what ``mainspring worker examples.index_tree.tasks:app`` does, and ends with the process that started it.
"""

import os
import sys
import threading
import warnings

from examples.index_tree.tasks import app
from mainspring import WorkerProcess


def main(name: str, lease: str, concurrency: str) -> None:
    """Work until stopped."""
    warnings.simplefilter("ignore")  # sources under the magnifying glass may be written badly
    worker = app.worker(name=name, lease=lease, concurrency=int(concurrency))
    threading.Thread(target=_stop_with_parent, args=(worker,), daemon=True).start()
    worker.run()
    app.close()


def _stop_with_parent(worker: WorkerProcess) -> None:
    """Our input is a pipe from the demo: it ends when the demo does, however that comes about."""
    while os.read(0, 1):  # (unbuffered: a thread inside sys.stdin would trouble the interpreter's end)
        pass
    worker.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
