"""``mainspring import``: other systems' schedules, as files that ``schedule apply`` takes."""

from __future__ import annotations

import pickle
import sqlite3
from contextlib import closing
from typing import Any

from tests.cli.shell import Shell

CRONTAB = "HOME=/srv/app\n30 2 * * 1-5 /srv/app/bin/report --full\n0 9 * * * report | mail ana\n"


def test_a_crontab_becomes_a_file_that_applies(on_sqlite: Shell) -> None:
    (on_sqlite.folder / "crontab").write_text(CRONTAB)
    made = on_sqlite.run("import", "crontab", "crontab", "--tz", "Europe/Berlin", "-n", "50")
    assert made.code == 0, made
    told = made.err.splitlines()
    assert told[0] == "line 2: 30 2 * * 1-5 /srv/app/bin/report --full"
    assert told[1].startswith("  is cron/report; next 20")
    assert told[1].count("T00:30:00Z") + told[1].count("T01:30:00Z") == 50
    assert any("/bin/sh runs it" in line for line in told)
    (on_sqlite.folder / "made.yaml").write_text(made.out)
    assert on_sqlite.json("schedule", "list")["data"] == []
    use = ("-f", "made.yaml", "--set", "crontab")
    refused = on_sqlite.run("schedule", "apply", *use)
    assert (refused.code, "SHELL_ENABLED" in refused.err) == (2, True), refused
    allowed: dict[str, Any] = {"MAINSPRING_SHELL_ENABLED": "true", "MAINSPRING_SHELL_ALLOW": "/bin/sh,/srv/app/bin/*"}
    applied = on_sqlite.run("schedule", "apply", *use, **allowed)
    assert applied.code == 0, applied
    assert [each["name"] for each in on_sqlite.json("schedule", "list")["data"]] == ["cron/report", "cron/report-2"]
    assert "0 changed, 2 as they were" in on_sqlite.run("schedule", "apply", *use, **allowed).err


def test_what_is_refused_is_said_and_the_rest_is_written(on_sqlite: Shell) -> None:
    (on_sqlite.folder / "crontab").write_text("@reboot /bin/a\n0 1 * * * /bin/b\n0 0 30 2 * /bin/c\n")
    made = on_sqlite.run("import", "crontab", "crontab", "--tz", "Nowhere/Land")
    assert (made.code, made.out) == (1, "version: 1\nschedules: []\n")
    made = on_sqlite.run("import", "crontab", "crontab", "--tz", "UTC")
    assert made.code == 1
    assert made.out.count("- name:") == 1
    assert made.err.count("REFUSED") == 2
    assert on_sqlite.run("import", "crontab", "missing").code == 2


def test_timers_become_a_file(on_sqlite: Shell) -> None:
    (on_sqlite.folder / "a.timer").write_text("[Timer]\nOnCalendar=*-*-* 02:30:00\nPersistent=yes\n")
    (on_sqlite.folder / "a.service").write_text("[Service]\nExecStart=/srv/app/bin/report\n")
    made = on_sqlite.run("import", "systemd", "a.timer", "a.service", "--tz", "Europe/Berlin")
    assert made.code == 0, made
    assert "is systemd/a; next 20" in made.err
    (on_sqlite.folder / "made.yaml").write_text(made.out)
    allowed: dict[str, Any] = {"MAINSPRING_SHELL_ENABLED": "true", "MAINSPRING_SHELL_ALLOW": "/srv/app/bin/*"}
    assert on_sqlite.run("schedule", "apply", "-f", "made.yaml", "--set", "timers", **allowed).code == 0


def test_a_beat_schedule_becomes_a_file_that_applies(on_sqlite: Shell) -> None:
    (on_sqlite.folder / "celeryconfig.py").write_text(
        'beat_schedule = {"a": {"task": "shop.a", "schedule": crontab(hour=2, minute="0,30", day_of_week=2)}}\n'
    )
    made = on_sqlite.run("import", "celery-beat", "celeryconfig.py", "--tz", "UTC")
    assert made.code == 0, made
    assert "the next 50 fires are the source's own" in made.err
    (on_sqlite.folder / "made.yaml").write_text(made.out)
    assert on_sqlite.json("schedule", "list")["data"] == []
    assert on_sqlite.run("schedule", "apply", "-f", "made.yaml", "--set", "beat").code == 0
    again = on_sqlite.run("import", "celery-beat", "celeryconfig.py", "--tz", "Europe/Berlin", "-n", "0")
    assert again.code == 0, again
    assert on_sqlite.run("import", "celery-beat", "missing").code == 2
    (on_sqlite.folder / "celerybeat-schedule").write_bytes(pickle.dumps({"a": 1}))
    refused = on_sqlite.run("import", "celery-beat", "celerybeat-schedule")
    assert (refused.code, "pickles" in refused.err) == (2, True), refused


def test_every_difference_is_said_with_its_cause(on_sqlite: Shell) -> None:
    text = 'beat_schedule = {"a": {"task": "shop.a", "schedule": crontab(hour=2, minute="0,30", day_of_month=28, month_of_year=3)}}'
    (on_sqlite.folder / "conf.py").write_text(text)
    made = on_sqlite.run("import", "celery-beat", "conf.py", "--tz", "Europe/Berlin")
    assert made.code == 0, made
    assert "DIFFERENT" in made.err
    assert "is due by this only: a change of the clocks" in made.err


def test_a_job_store_becomes_a_file_that_applies(on_sqlite: Shell) -> None:
    from apscheduler.triggers.cron import CronTrigger

    job = {"func": "shop:nightly", "trigger": CronTrigger(day_of_week=0, hour=9, timezone="UTC"), "args": (), "kwargs": {"n": 1}}
    job |= {"misfire_grace_time": 1, "coalesce": True, "max_instances": 1}
    with closing(sqlite3.connect(on_sqlite.folder / "jobs.db")) as database, database:
        database.execute("CREATE TABLE apscheduler_jobs (id, next_run_time, job_state)")
        database.execute("INSERT INTO apscheduler_jobs VALUES ('n', 1.0, ?)", (pickle.dumps(job),))
    made = on_sqlite.run("import", "apscheduler", "jobs.db")
    assert made.code == 0, made
    assert "0 9 * * MON" in made.out
    assert "the next 50 fires are the source's own" in made.err
    (on_sqlite.folder / "made.yaml").write_text(made.out)
    assert on_sqlite.run("schedule", "apply", "-f", "made.yaml", "--set", "jobs").code == 0
    wrong = on_sqlite.run("import", "apscheduler", "made.yaml")
    assert (wrong.code, "no SQLite file" in wrong.err) == (2, True), wrong
