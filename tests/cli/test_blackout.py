"""``mainspring blackout``: windows put, seen, and deleted."""

from __future__ import annotations

from tests.cli.shell import Shell


def test_a_blackout_is_put_seen_heeded_and_deleted(shell: Shell) -> None:
    shell.drain()
    shell.run("schedule", "put", "hello", "greet", "--every", "1h", "--payload", '{"who": "you"}')
    window = ("--from", "2020-01-01T00:00:00Z", "--to", "2020-06-01T00:00:00Z")
    assert shell.run("blackout", "put", "freeze", *window, "--policy", "skip").out == "freeze is over 1 schedules\n"
    again = ("--cron", "* * * * *", "--tz", "UTC", "--for", "1h")
    assert shell.run("blackout", "put", "always", *again, "--policy", "defer", "--schedule", "hel*").code == 0
    assert shell.json("blackout", "show", "always")["schedules"] == ["hello"]
    assert "2020-01-01" in shell.run("blackout", "list").out
    assert "ignore_blackout" in shell.run("schedule", "trigger", "hello", "--reason", "now").err
    assert shell.run("schedule", "trigger", "hello", "--reason", "now", "--ignore-blackout").code == 0
    assert shell.run("blackout", "delete", "always", "--yes").out == "always is gone\n"
    assert shell.run("blackout", "show", "always").code == 3
    assert shell.run("blackout", "put", "x", "--cron", "* * * * *", "--policy", "skip").code == 2
