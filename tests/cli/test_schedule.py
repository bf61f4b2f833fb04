"""``mainspring schedule``: putting, looking, steering."""

from __future__ import annotations

from tests.cli.shell import Shell


def test_a_schedule_is_put_seen_triggered_paused_and_deleted(shell: Shell) -> None:
    shell.drain()
    put = shell.run("schedule", "put", "hello", "greet", "--every", "1h", "--payload", '{"who": "you"}')
    assert put.out.startswith("hello is active, revision 1; next 20"), put
    made = shell.json("schedule", "trigger", "hello", "--reason", "to see it")
    shell.drain()
    assert shell.json("run", "get", made["run_id"])["result"] == "hello you "
    (seen,) = shell.json("schedule", "occurrences", "hello")["data"]
    assert (seen["disposition"], seen["origin"], seen["reason"]) == ("fired", "manual", "to see it")
    assert shell.run("schedule", "pause", "hello", "--reason", "enough").code == 0
    told = shell.json("schedule", "show", "hello")
    assert (told["state"], told["reason"], told["spec"]["rule"]) == ("paused", "enough", {"every": "1h"})
    assert shell.run("schedule", "resume", "hello").code == 0
    assert "active" in shell.run("schedule", "list").out
    assert shell.run("schedule", "delete", "hello", "--yes").code == 0
    assert shell.run("schedule", "show", "hello").code == 3


def test_a_schedule_is_disabled_enabled_explained_and_its_revisions_told(shell: Shell) -> None:
    shell.drain()
    shell.run("schedule", "put", "hello", "greet", "--every", "1h", "--payload", '{"who": "you"}')
    assert shell.run("schedule", "disable", "hello").out.strip() == "hello is disabled"
    assert shell.run("schedule", "enable", "hello").out.strip() == "hello is active"
    told = shell.json("schedule", "explain", "hello", "--at", "2031-05-01T09:00:00.000001Z")
    assert (told["is_due"], told["code"]) == (False, "not_due")
    assert "not due" in shell.run("schedule", "explain", "hello", "--at", "2031-05-01T09:00:00.000001Z").out
    assert [each["name"] for each in shell.json("schedule", "list", "--kind", "interval", "--prefix", "hel")["data"]] == ["hello"]
    assert shell.json("schedule", "list", "--state", "paused", "-a", "team=billing")["data"] == []
    assert shell.run("schedule", "list", "--state", "asleep").code == 2
    revisions = shell.json("schedule", "revisions", "hello")["data"]
    assert [(each["revision"], each["spec"]["enabled"]) for each in revisions] == [(3, True), (2, False), (1, True)]
    assert "greet" in shell.run("schedule", "revisions", "hello", "-n", "1").out


def test_a_request_and_a_program_are_put_and_what_is_not_allowed_is_refused(on_sqlite: Shell) -> None:
    on_sqlite.drain()
    put = ("schedule", "put", "ping", "--every", "1h")
    assert on_sqlite.run(*put, "--http", "https://93.184.216.34/ping").code == 0
    spec = on_sqlite.json("schedule", "revisions", "ping")["data"][0]["spec"]
    assert spec["target"] == {"http": {"method": "POST", "url": "https://93.184.216.34/ping"}}
    assert "loopback" in on_sqlite.run(*put, "--http", "http://127.0.0.1/").err
    assert "SHELL_ENABLED" in on_sqlite.run(*put, "--shell", "/bin/echo 'a b'").err
    assert on_sqlite.run(*put, "greet", "--shell", "/bin/echo").code == 2
    assert on_sqlite.run(*put, "--shell", "/bin/echo 'a").code == 2


def test_a_rule_can_be_asked_before_it_is_put(on_sqlite: Shell) -> None:
    asked = on_sqlite.run("schedule", "next", "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "-n", "400")
    assert asked.code == 0
    assert len(asked.out.splitlines()) == 401
    assert any("does not exist" in line or "exist" in line for line in asked.out.splitlines()[1:])  # a spring within 400 days
    assert on_sqlite.run("schedule", "next", "--cron", "30 2 * *", "--tz", "Europe/Berlin").code == 2
    assert on_sqlite.run("schedule", "next").code == 2
    assert on_sqlite.run("schedule", "pause", "nope", "--reason", "x").code == 3
