"""systemd timers as schedule files."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.core.durations import DAY, HOUR, MINUTE, SECOND
from mainspring.core.problems import Refused
from mainspring.importing.imported import Imported
from mainspring.importing.systemd import read_span, read_timers

#: As distributions ship them, shortened.
FILES = {
    "/usr/lib/systemd/system/logrotate.timer": """
[Unit]
Description=Daily rotation of log files

[Timer]
OnCalendar=daily
AccuracySec=1h
Persistent=true

[Install]
WantedBy=timers.target
""",
    "logrotate.service": """
[Service]
Type=oneshot
ExecStart=/usr/sbin/logrotate /etc/logrotate.conf
Nice=19
""",
    "fwupd-refresh.timer": """
[Timer]
OnCalendar=*-*-* 06,18:00 Europe/London
RandomizedDelaySec=12h
FixedRandomDelay=on
""",
    "fwupd-refresh.service": """
[Service]
Type=oneshot
User=fwupd
Environment=LANG=C.UTF-8 "MODE=a b"
TimeoutStartSec=1min 30s
ExecStart=-/usr/bin/fwupdmgr \\
    refresh
""",
    "tmpfiles-clean.timer": "[Timer]\nOnBootSec=15min\nOnUnitActiveSec=1d\n",
    "tmpfiles-clean.service": "[Service]\nType=oneshot\nExecStart=systemd-tmpfiles --clean\n",
    "boot-only.timer": "[Timer]\nOnBootSec=5min\n",
    "orphan.timer": "[Timer]\nOnCalendar=weekly\nUnit=gone.service\n",
    "specifier.timer": "[Timer]\nOnCalendar=Mon..Fri 02:30\nOnCalendar=Sat 04:00\n",
    "specifier.service": "[Service]\nExecStart=/bin/echo %n\n",
}


def read(files: dict[str, str], timezone: str | None = "Europe/Berlin") -> dict[str, Imported]:
    return {each.place.removesuffix(".timer"): each for each in read_timers(files, timezone=timezone)}


def entry(timer: str, service: str = "ExecStart=/bin/true") -> Any:
    made = read({"a.timer": f"[Timer]\n{timer}\n", "a.service": f"[Service]\n{service}\n"})["a"]
    assert made.entry is not None, made
    return made.entry


def test_timers_as_they_are_shipped() -> None:
    found = read(FILES)
    assert {name for name, each in found.items() if each.entry is None} == {"boot-only", "orphan", "specifier"}
    assert found["logrotate"].entry == {
        "name": "systemd/logrotate",
        "rule": {"cron": "daily", "timezone": "Europe/Berlin", "dialect": "systemd"},
        "target": {"shell": {"argv": ["/usr/sbin/logrotate", "/etc/logrotate.conf"]}},
        "overlap": "skip",
        "misfire": "run_once_if_late",
        "retry": {"max_attempts": 1},
        "timeout": None,
    }
    assert any("Nice of logrotate.service: left out" in note for note in found["logrotate"].notes)
    fwupd: Any = found["fwupd-refresh"].entry
    assert fwupd["rule"] == {"cron": "*-*-* 06,18:00", "timezone": "Europe/London", "dialect": "systemd"}
    assert (fwupd["jitter"], fwupd["misfire"], fwupd["timeout"]) == ({"max": "12h", "mode": "hash"}, "skip", "1m30s")
    assert fwupd["target"]["shell"] == {
        "argv": ["/usr/bin/fwupdmgr", "refresh"], "env": {"LANG": "C.UTF-8", "MODE": "a b"}, "user": "fwupd",
    }  # fmt: skip
    clean: Any = found["tmpfiles-clean"].entry
    assert (clean["rule"], clean["target"]["shell"]["argv"][0]) == ({"every": "1d"}, "/usr/bin/env")
    assert any("OnBootSec" in note for note in found["tmpfiles-clean"].notes)
    assert "start of the host" in (found["boot-only"].refused or "")
    assert "gone.service" in (found["orphan"].refused or "")
    assert "specifiers" in (found["specifier"].refused or "")


def test_several_expressions_are_one_rule_and_an_empty_one_takes_them_back() -> None:
    two = entry("OnCalendar=Mon..Fri 02:30\nOnCalendar=Sat 04:00 UTC")["rule"]
    assert [(each["cron"], each["timezone"]) for each in two["any"]] == [("Mon..Fri 02:30", "Europe/Berlin"), ("Sat 04:00", "UTC")]
    assert entry("OnCalendar=hourly\nOnCalendar=\nOnCalendar=daily")["rule"]["cron"] == "daily"
    assert entry("OnUnitInactiveSec=90")["rule"] == {"after": "1m30s"}
    assert entry("OnCalendar=daily\nRandomizedDelaySec=5min")["jitter"] == {"max": "5m", "mode": "random"}


def test_a_bad_expression_is_refused_with_what_to_write() -> None:
    made = read({"a.timer": "[Timer]\nOnCalendar=Fri..Mon 02:30\n", "a.service": "[Service]\nExecStart=/bin/true\n"})["a"]
    assert "backwards" in (made.refused or "")
    made = read({"a.timer": "[Timer]\nOnCalendar=daily\n"}, timezone=None)["a"]
    assert "zone" in (made.refused or "")


def test_spans_are_read_as_systemd_writes_them() -> None:
    assert read_span("1h 30min") == HOUR + 30 * MINUTE
    assert read_span("90") == 90 * SECOND
    assert read_span("2d5s") == 2 * DAY + 5 * SECOND
    assert read_span("1.5 hours") == 90 * MINUTE
    with pytest.raises(Refused):
        read_span("1 fortnight")
