"""What workers write to their logs: telling a task's failure, which is told with its traceback, from trouble of our own."""

from __future__ import annotations

import re

_TASK_FAILED = re.compile(r"^run \S+: \S+ failed \(.*\n(?:Traceback .*\n(?:  .*\n)*(?:\S.*\n?)?)?", re.MULTILINE)


def without_failures_of_tasks(log: str) -> str:
    """A log without the attempts that failed as their tasks told them to."""
    return _TASK_FAILED.sub("", log)
