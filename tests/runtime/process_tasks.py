"""Tasks that the tests of the process executor run in real children. Importable by name; not here: anything that asserts."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from mainspring import App, Context, Fail, Release, Retry

app = App("process-tasks", database="sqlite:///never-opened.db")


@app.task(executor="process")
def add(left: int, right: int = 1) -> int:
    return left + right


@app.task(executor="process")
def pid() -> int:
    return os.getpid()


@app.task(executor="process")
def where() -> dict[str, Any]:
    on_main = threading.current_thread() is threading.main_thread()
    return {"session": os.getsid(0), "pid": os.getpid(), "main_thread": on_main, "stdin": sys.stdin.read()}


@app.task(executor="process")
def whoami(ctx: Context) -> dict[str, Any]:
    return {"run_id": ctx.run_id, "task": ctx.task, "queue": ctx.queue, "token": ctx.token, "attempt": ctx.attempt}


@app.task(executor="process")
def divide(by: int) -> float:
    return 1 / by


@app.task(executor="process")
def leave(status: int) -> None:
    sys.exit(status)


@app.task(executor="process")
def vanish(status: int) -> None:
    os._exit(status)


@app.task(executor="process")
def segfault() -> None:
    ctypes.string_at(0)


@app.task(executor="process")
def fail_for_good() -> None:
    raise Fail("bad_address", "no such street")


@app.task(executor="process")
def retry_later(after: str) -> None:
    raise Retry(after=after, code="busy", message="try again")


@app.task(executor="process")
def not_yet(ctx: Context) -> None:
    ctx.release(after="2m", reason="no file yet")


@app.task(executor="process")
def not_yet_until() -> None:
    raise Release(until="2031-05-01T09:00:00Z")


@app.task(executor="process")
def returns_a_set_of_objects() -> Any:
    return {object()}


@app.task(executor="process")
def count_up(ctx: Context) -> int:
    ctx.heartbeat({"at": (ctx.checkpoint or {"at": 0})["at"] + 1}, progress="half way")
    ctx.heartbeat(now=True)
    return int(ctx.checkpoint["at"]) if ctx.checkpoint else 0


@app.task(executor="process")
def wait_until_stopped(ctx: Context) -> None:
    ctx.heartbeat("waiting")
    pause = threading.Event()
    while True:
        ctx.check()
        pause.wait(0.005)


@app.task(executor="process")
def see_why_stopped(ctx: Context) -> str:
    ctx.heartbeat("waiting")
    pause = threading.Event()
    while not ctx.is_cancelled:
        pause.wait(0.005)
    try:
        ctx.check()
    except BaseException as error:
        return type(error).__name__
    return "nothing"


@app.task(executor="process")
def hang_with_children(ctx: Context) -> None:
    """Hangs for ever, with a program and a fork of its own; says its own pid and theirs."""
    program = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    forked = os.fork()
    if forked == 0:
        signal.pause()
        os._exit(0)
    ctx.heartbeat([os.getpid(), program.pid, forked])
    while True:
        signal.pause()


@app.task(executor="process")
def die_before_its_fork(ctx: Context) -> None:
    """Dies while a fork, which holds every descriptor of its parent, lives on in a session of its own."""
    forked = os.fork()
    if forked == 0:
        os.setsid()
        signal.pause()
        os._exit(0)
    ctx.heartbeat(forked)
    os._exit(7)


@app.task(executor="process")
def hold_the_interpreter(ctx: Context) -> None:
    """Waits in foreign code that keeps the interpreter's lock: no other thread of the process runs any more."""
    ctx.heartbeat("waiting")
    ctypes.PyDLL(None).pause()


@app.task(executor="process")
def close_every_descriptor() -> None:
    os.closerange(3, 256)


@app.task(executor="process")
def survive_signals() -> str:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    program = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    program.terminate()
    return signal.Signals(-program.wait()).name


@app.task(executor="process")
def write(path: str, text: str) -> None:
    Path(path).write_text(text)


@app.task(executor="process")
def shout(text: str) -> None:
    print(text)


@app.task(executor="process")
def read_members(ctx: Context) -> int:
    return len(list(ctx.members()))


class Shelf:
    """A task under a dotted name."""

    @staticmethod
    @app.task(executor="process")
    def on_the_shelf() -> str:
        return "found"


def plain(word: str) -> str:
    """No task by itself: registered by another module."""
    return word * 2
