"""The second act of the demo, as a person runs it: three schedules, a crash, a ledger without holes."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from mainspring import Client

ROOT = Path(__file__).resolve().parents[2]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "examples.above_cron", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)


def test_three_schedules_go_through_a_crash_and_every_instant_has_one_fate(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ended = demo("--seconds", "24", "--home", str(home))
    assert (ended.returncode, "every instant has one fate" in ended.stdout) == (0, True), ended.stdout + ended.stderr
    with closing(Client(f"sqlite:///{home / 'schedules.db'}")) as client:
        fates = {each.disposition.value for each in client.schedules.occurrences("health").data}
        assert {"fired", "coalesced"} <= fates
    with closing(Client(f"sqlite:///{home / 'backup.db'}")) as copy:
        assert [each.name for each in copy.schedules.list()] == ["backup", "health", "report"]


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    assert demo("--home", str(tmp_path)).returncode == 2
    assert (tmp_path / "mine").read_text() == "precious"
    assert demo("--seconds", "1", "--home", str(tmp_path / "new")).returncode == 2


def test_this_machines_crontab_and_timers_are_shown_with_their_next_fires_and_what_is_absent_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.above_cron.machine"]
    bare = os.environ | {"PATH": str(tmp_path), "DEMO_UNITS": str(tmp_path), "COLUMNS": "300"}
    absent = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "no crontab" in absent
    assert "no systemd timers" in absent
    (tmp_path / "crontab").write_text("#!/bin/sh\necho '30 2 * * * /usr/bin/report'\n")
    (tmp_path / "crontab").chmod(0o755)
    (tmp_path / "tidy.timer").write_text("[Timer]\nOnCalendar=*-*-* 04:15:00\n")
    (tmp_path / "tidy.service").write_text("[Service]\nExecStart=/usr/bin/tidy\n")
    there = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "02:30:00" in there, there
    assert "04:15:00" in there, there
