"""Tasks that a drain runs in real processes. Importable by name; not here: anything that asserts."""

import os
from pathlib import Path

from mainspring import App

OWN = Path(os.environ.get("PROCESS_TASKS_OWN", "no-such-folder/own.db"))

app = App("process-tasks", database=f"sqlite:///{OWN}")


@app.task(executor="process")
def pid() -> int:
    return os.getpid()


@app.task(executor="process")
def divide(by: int) -> float:
    return 1 / by


@app.task(executor="process", max_attempts=1)
def enqueue_another() -> str:
    return pid.enqueue().id
