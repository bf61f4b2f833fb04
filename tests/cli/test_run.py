"""``mainspring run`` and ``enqueue``: every command, what it prints and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.shell import Shell, wait_until

NOBODY = "01985f3c-7a2b-7c1d-8e4f-0123456789ab"


def test_a_run_goes_from_enqueue_to_its_result(shell: Shell) -> None:
    run_id = shell.enqueue("greet", who="you")
    shell.drain()
    found = shell.json("run", "get", run_id)
    assert (found["state"], found["result"], found["payload"]) == ("succeeded", "hello you ", {"who": "you"})
    assert found["attempts"] == 1
    assert found["why"] is None
    assert found["ended_at"].endswith("Z")


def test_lists_filter_and_go_on_at_their_cursor(shell: Shell) -> None:
    ids = [shell.enqueue("greet", who=str(number)) for number in range(3)]
    shell.drain()
    waiting = shell.enqueue("nobody_has_this")
    first = shell.json("run", "list", "--state", "succeeded", "--limit", "2")
    rest = shell.json("run", "list", "--state", "succeeded", "--limit", "2", "--cursor", first["next_cursor"])
    assert [run["id"] for page in (first, rest) for run in page["data"]] == ids[::-1]
    assert [run["id"] for run in shell.json("run", "list", "--state", "queued,failed")["data"]] == [waiting]
    assert len(shell.json("run", "list", "--task", "greet")["data"]) == 3
    assert shell.json("run", "list", "--queue", "mail")["data"] == []


def test_a_list_in_a_pipe_is_plain_lines_with_tabs(on_sqlite: Shell) -> None:
    run_id = on_sqlite.enqueue("greet", who="you")
    heading, line = on_sqlite.run("run", "list").out.splitlines()
    assert heading.split("\t")[0] == "id"
    assert line.split("\t")[:4] == [run_id, "greet", "default", "queued"]


def test_events_and_attempts_tell_what_happened(shell: Shell) -> None:
    run_id = shell.enqueue("give_up")
    shell.drain()
    assert [event["type"] for event in shell.json("run", "events", run_id)["data"]] == ["created", "claimed", "failed"]
    (tried,) = shell.json("run", "attempts", run_id)["data"]
    assert (tried["outcome"], tried["code"]) == ("failed", "no_good")
    assert "no_good" in shell.run("run", "attempts", run_id).out
    assert "claimed" in shell.run("run", "events", run_id).out
    assert shell.json("run", "get", run_id)["failure"]["code"] == "no_good"


def test_a_failed_run_is_tried_again_as_a_new_one_and_only_once(shell: Shell) -> None:
    run_id = shell.enqueue("give_up")
    shell.drain()
    again = shell.run("run", "retry", run_id)
    assert again.code == 0
    assert shell.json("run", "get", again.out.strip())["rerun_of"] == run_id
    repeated = shell.run("run", "retry", run_id)
    assert repeated.out == again.out
    assert "already" in repeated.err


def test_a_waiting_run_is_cancelled_at_once_and_an_ended_one_conflicts(shell: Shell) -> None:
    waiting, ended = shell.enqueue("nobody_has_this"), shell.enqueue("greet", who="you")
    shell.drain()
    assert shell.run("run", "cancel", waiting, "--reason", "not wanted").out == "cancelled\n"
    assert shell.json("run", "get", waiting)["reason"] == "not wanted"
    refused = shell.run("run", "cancel", ended)
    assert refused.code == 4
    assert "already ended" in refused.err


def test_what_applies_to_another_state_conflicts_and_changes_nothing(on_sqlite: Shell) -> None:
    run_id = on_sqlite.enqueue("greet", who="you")
    before = on_sqlite.json("run", "get", run_id)
    for command in (["retry", run_id], ["resume", run_id, "--reason", "x"], ["fail", run_id, "--reason", "x"]):
        assert on_sqlite.run("run", *command).code == 4
    assert on_sqlite.json("run", "get", run_id) == before


def test_a_parked_run_is_let_out_or_failed_with_a_reason(shell: Shell) -> None:
    resumed, failed = shell.enqueue("greet", whom=1), shell.enqueue("greet", whom=2)
    shell.drain()  # the payload does not fit: parked, for a person to decide
    assert shell.json("run", "get", resumed)["state"] == "needs_attention"
    assert shell.run("run", "fail", failed, "--reason", "a mistake").code == 0
    assert shell.json("run", "get", failed)["state"] == "failed"
    assert shell.run("run", "resume", resumed, "--reason", "deployed").code == 0
    assert shell.json("run", "get", resumed)["state"] == "queued"


def test_a_run_that_nobody_can_execute_says_so(shell: Shell) -> None:
    said = shell.run("enqueue", "nobody_has_this")
    assert said.code == 0
    assert "no live worker takes nobody_has_this" in said.err
    run_id = said.out.strip()
    assert "no live worker" in shell.json("run", "why", run_id)["why"]
    assert shell.run("run", "why", run_id).out.startswith("queued: no live worker")
    assert "no live worker" in shell.run("run", "get", run_id).out


def test_watching_follows_a_run_live_and_exits_as_it_ended(shell: Shell, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run_id = shell.enqueue("wait_for", file=str(gate))
    watching = shell.start("run", "watch", run_id, "--json")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["type"] == "created"
    shell.start("worker", "shop:app")
    assert json.loads(watching.stdout.readline())["type"] == "claimed"
    gate.touch()
    last = json.loads(watching.stdout.readline())
    assert (last["type"], last["body"]) == ("succeeded", "seen")
    assert watching.wait(20) == 0


def test_watching_a_run_that_fails_exits_with_1(shell: Shell) -> None:
    run_id = shell.enqueue("give_up")
    shell.drain()
    watched = shell.run("run", "watch", run_id)
    assert watched.code == 1
    assert "failed: it is no good" in watched.err


def test_watching_has_a_bound(on_sqlite: Shell) -> None:
    watched = on_sqlite.run("run", "watch", on_sqlite.enqueue("greet", who="you"), "--timeout", "50ms")
    assert watched.code == 1
    assert "it goes on" in watched.err


def test_enqueue_with_the_app_checks_before_anything_is_created(shell: Shell) -> None:
    wrong = shell.run("enqueue", "greet", '{"whom": 1}', "--app", "shop:app")
    unknown = shell.run("enqueue", "greeet", "--app", "shop:app")
    assert (wrong.code, unknown.code) == (2, 3)
    assert "who" in wrong.err
    assert "greet" in unknown.err
    assert shell.json("run", "list")["data"] == []


def test_enqueue_reads_its_arguments_from_a_pipe_and_waits_for_the_result(shell: Shell) -> None:
    shell.start("worker", "shop:app")
    answer = shell.run("enqueue", "greet", "-", "--app", "shop:app", "--wait", stdin='{"who": "pipe", "times": 2}')
    assert (answer.code, json.loads(answer.out)) == (0, "hello pipe hello pipe ")
    assert shell.run("enqueue", "give_up", "--wait").code == 1


def test_a_key_gives_the_same_run_and_another_payload_conflicts(shell: Shell) -> None:
    first = shell.run("enqueue", "greet", '{"who": "you"}', "--key", "k1")
    assert shell.run("enqueue", "greet", '{"who": "you"}', "--key", "k1").out == first.out
    refused = shell.run("enqueue", "greet", '{"who": "me"}', "--key", "k1")
    assert refused.code == 4
    assert first.out.strip() in refused.err


def test_a_delayed_run_says_when_it_is_due(on_sqlite: Shell) -> None:
    run_id = on_sqlite.run("enqueue", "greet", '{"who": "you"}', "--delay", "10m", "--priority", "5").out.strip()
    found = on_sqlite.json("run", "get", run_id)
    assert (found["state"], found["priority"]) == ("scheduled", 5)
    assert found["why"].startswith("due at ")


def test_a_running_run_is_cancelled_in_two_phases(shell: Shell, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run_id = shell.enqueue("wait_for", file=str(gate))
    shell.start("worker", "shop:app")
    wait_until(Path(f"{gate}.begun").exists, "the run has begun")
    assert shell.run("run", "cancel", run_id).out == "cancelling\n"
    assert shell.run("run", "watch", run_id, "--timeout", "20s").code in {0, 1}
    types = [event["type"] for event in shell.json("run", "events", run_id)["data"]]
    assert types[:3] == ["created", "claimed", "cancel_requested"]


def test_what_is_not_there_is_3_and_what_cannot_be_is_2(on_sqlite: Shell) -> None:
    for command in ("get", "events", "attempts", "watch", "cancel", "retry", "why"):
        assert on_sqlite.run("run", command, NOBODY).code == 3, command
        assert on_sqlite.run("run", command, "no-id").code == 2, command
    for arguments in (
        ["run", "list", "--state", "sleeping"],
        ["run", "list", "--limit", "0"],
        ["run", "resume", NOBODY],
        ["run", "nothing"],
        ["enqueue", "greet", "[1]"],
        ["enqueue", "greet", "{"],
        ["enqueue", "no such name"],
        ["enqueue", "greet", "--delay", "soon"],
        ["enqueue", "greet", "--priority", "5000"],
    ):
        assert on_sqlite.run(*arguments).code == 2, arguments


def test_a_failure_is_told_by_the_worker_and_shown_with_its_traceback_apart(shell: Shell) -> None:
    run_id = shell.enqueue("greet", who="you", times=[])
    lost = shell.run("enqueue", "lose", "--app", "shop:app").out.strip()
    said = shell.run("worker", "shop:app", "--drain", tasks_raise=True).err
    assert f"run {run_id}: greet needs attention (invalid_payload)" in said
    assert f"run {lost}: lose failed (error): 'nothing'\nTraceback" in said
    fields = dict(line.split("\t", 1) for line in shell.run("run", "get", lost).out.splitlines())
    assert "traceback" not in fields["failure"]
    assert fields["traceback"].startswith("Traceback (most recent call last):\\n  File")
    for command in ("events", "watch"):
        assert "Traceback" not in shell.run("run", command, lost).out
