"""The child's half of ``processes=N``: one worker process, started by a supervisor, told by it when to stop, and never without it.

Not here: starting and watching such processes (``supervisor``).
"""

import importlib.util
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from mainspring.runtime.child import Hello, die_with, module_of

STOP, HURRY = b"s", b"h"
WORN_OUT = 75
_LAST_SECONDS = 20.0
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker process must know: where the App is, and what ``app.worker`` is to be asked for."""

    hello: Hello
    module: str
    attribute: str
    settings: dict[str, str]
    options: dict[str, Any]
    until: Literal["stopped", "drained", "empty"]
    grace_seconds: float
    log_level: int | None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What such a process did, as it tells at its end."""

    finished: int
    lost_leases: int
    worn_out: bool


def serve(descriptor: int, greeting: Mapping[str, Any]) -> None:
    """Work until told to stop; exit with 0, or 75 if worn out. Nothing of the user was imported before."""
    orders = msgspec.convert(greeting, Orders)
    die_with(orders.hello.parent, signal.SIGTERM)  # until the worker listens, this ends it; from then on, it stops in order
    os.set_inheritable(descriptor, False)
    sys.argv[:] = orders.hello.argv
    os.environ.update(orders.settings)
    if orders.log_level is not None:
        logging.basicConfig(level=orders.log_level, format=_FORMAT, stream=sys.stderr)
    app = module_of(orders.hello, orders.module)
    for part in orders.attribute.split("."):
        app = getattr(app, part)
    channel = socket.socket(fileno=descriptor)
    process = app.worker(**orders.options)
    ears = _Ears(channel, process, orders.grace_seconds)
    threading.Thread(target=ears.listen, name="mainspring-supervisor", daemon=True).start()
    report = process.run_heeding(ears.stop, until=orders.until)
    told = Told(finished=report.finished, lost_leases=report.lost_leases, worn_out=report.worn_out)
    channel.sendall(msgspec.json.encode(told))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(WORN_OUT if report.worn_out else 0)  # threads of tasks that do not end would be waited for


class _Ears:
    """Hears what the supervisor wants. A signal to this process alone asks it to stop in order, however often it comes."""

    def __init__(self, channel: socket.socket, process: Any, grace_seconds: float) -> None:
        self._channel = channel
        self._process = process
        self._grace_seconds = grace_seconds
        self._lock = threading.Lock()
        self._asked = False

    def stop(self) -> None:
        """Begin to stop, once."""
        with self._lock:
            first, self._asked = not self._asked, True
        if first:
            self._process.stop()

    def listen(self) -> None:
        """Until the supervisor is gone: then stop as asked, and be gone too, come what may."""
        while word := self._channel.recv(1):
            self.stop()
            if word == HURRY:
                self._process.stop()
        self.stop()
        threading.Event().wait(self._grace_seconds + _LAST_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)


def place_of(app: object) -> tuple[str, str] | None:
    """The module and the name under which a child can import an object of this process; None where it cannot."""
    found = [
        (name, attribute)
        for name, module in list(sys.modules.items())
        for attribute, value in list(getattr(module, "__dict__", {}).items())
        if value is app
    ]
    found.sort(key=lambda place: (place[0] == "__main__", place))
    for name, attribute in found:
        if name == "__main__" or importlib.util.find_spec(name) is not None:
            return name, attribute
    return None
