"""``mainspring queue``: looking and steering."""

from __future__ import annotations

from tests.cli.shell import Shell


def test_a_paused_queue_keeps_its_runs_until_it_is_resumed(shell: Shell) -> None:
    run_id = shell.enqueue("greet", who="you")
    shell.drain()
    waiting = shell.run("queue", "pause", "default")
    assert waiting.out == "default is paused\n"
    assert shell.run("queue", "pause", "default").out == "default was paused already\n"
    run_id = shell.enqueue("greet", who="you")
    shell.drain()
    found = shell.json("run", "get", run_id)
    assert found["state"] == "queued"
    assert "paused by cli:" in found["why"]
    assert shell.run("queue", "resume", "default").out == "default is open\n"
    assert shell.run("queue", "resume", "default").out == "default was not paused\n"
    shell.drain()
    assert shell.json("run", "get", run_id)["state"] == "succeeded"


def test_a_limit_from_an_operator_outlasts_the_next_deploy(shell: Shell) -> None:
    shell.drain()  # declares mail with a limit of 3
    assert shell.run("queue", "limit", "mail", "1").out == "mail runs at most 1 at once\n"
    shell.drain()
    found = {queue["name"]: queue for queue in shell.json("queue", "list")["data"]}
    assert (found["mail"]["limit"], found["mail"]["limit_source"]) == (1, "operator")
    assert found["default"]["limit"] is None
    assert shell.run("queue", "limit", "mail", "none").out == "mail has no limit\n"
    assert "1 (operator)" not in shell.run("queue", "list").out


def test_bad_names_and_numbers_are_told_apart(on_sqlite: Shell) -> None:
    on_sqlite.drain()
    for arguments in (["pause", "nope"], ["resume", "nope"], ["limit", "nope", "3"]):
        refused = on_sqlite.run("queue", *arguments)
        assert refused.code == 3
        assert "mainspring queue list" in refused.err
    for size in ("few", "-1", "1.5", "²"):
        assert on_sqlite.run("queue", "limit", "mail", "--", size).code == 2
