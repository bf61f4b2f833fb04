"""What this machine's own crontab and systemd timers would become, and when they fire next; nothing is created."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console

UNITS = Path(os.environ.get("DEMO_UNITS", "/etc/systemd/system"))


def tell_machine(console: Console) -> None:
    """Import both dry, and say which of them is absent. The clocks are read as UTC."""
    crontab = _crontab()
    timers = sorted(UNITS.glob("*.timer"))
    services = [service for timer in timers if (service := timer.with_suffix(".service")).exists()]
    if crontab is None:
        console.print("this machine has no crontab of yours")
    else:
        _import(console, "your crontab", ["crontab", "-"], crontab)
    if timers:
        _import(console, f"the timers in {UNITS}", ["systemd", *map(str, [*timers, *services])], "")
    else:
        console.print(f"this machine has no systemd timers in {UNITS}")


def _crontab() -> str | None:
    if shutil.which("crontab") is None:
        return None
    listed = subprocess.run(["crontab", "-l"], capture_output=True, text=True, timeout=10, check=False)
    return listed.stdout if listed.returncode == 0 and listed.stdout.strip() else None


def _import(console: Console, what: str, words: list[str], text: str) -> None:
    command = [sys.executable, "-m", "mainspring", "import", *words, "--tz", "UTC"]
    told = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    console.print(f"{what}, imported dry, its clocks read as UTC:\n{told.stderr.rstrip()}", markup=False)


if __name__ == "__main__":
    tell_machine(Console(highlight=False))
