"""The commands of operators: find, act on many, explain, steer, dead letters, limits; what each prints and how it exits."""

from __future__ import annotations

import json

from tests.cli.shell import Shell


def test_runs_are_found_by_state_code_and_attributes(shell: Shell) -> None:
    failed = shell.enqueue("give_up")
    shell.drain()
    shell.enqueue("greet", who="you")
    made = shell.run("enqueue", "greet", '{"who": "ann"}', "-a", "order=7", "-a", "vip=true").out.strip()
    assert [run["id"] for run in shell.json("run", "find", "--state", "terminal", "--code", "no_good")["data"]] == [failed]
    for conditions in (["order=7"], ["order>=7", "order<8"], ["order", "vip=true"]):
        asked = [part for condition in conditions for part in ("-a", condition)]
        assert [run["id"] for run in shell.json("run", "find", *asked)["data"]] == [made]
    assert shell.json("run", "find", "-a", "order>7")["data"] == []
    assert shell.run("run", "find", "--state", "nowhere").code == 2
    assert shell.run("run", "find", "-a", "=7").code == 2
    assert shell.json("run", "get", made)["attributes"] == {"order": 7, "vip": True}


def test_an_act_on_many_is_previewed_asked_for_and_done_once(shell: Shell) -> None:
    for _ in range(3):
        shell.enqueue("give_up")
    shell.drain()
    seen = shell.run("run", "bulk", "retry", "--task", "give_up", "--dry-run")
    assert "retry of 3 runs" in seen.out
    assert "3 failed: tried again as a new run" in seen.out
    assert shell.json("run", "acts")["data"] == []
    assert shell.run("run", "bulk", "retry", "--task", "give_up").code == 2  # nobody to ask here
    done = shell.run("run", "bulk", "retry", "--task", "give_up", "--yes")
    assert "3 of 3 done" in done.out
    (act,) = shell.json("run", "acts")["data"]
    assert (act["action"], act["done"], act["total"]) == ("retry", 3, 3)
    assert {item["outcome"] for item in shell.json("run", "outcomes", act["id"])["data"]} == {"done"}
    again = json.loads(shell.run("run", "carry-on", act["id"], "--json").out)
    assert (again["done"], again["total"]) == (3, 3)
    assert shell.run("run", "bulk", "explode", "--yes").code == 2
    assert shell.run("run", "bulk", "priority", "--yes").code == 2


def test_one_run_is_explained_hurried_put_off_and_given_a_priority(shell: Shell) -> None:
    run_id = shell.run("enqueue", "greet", '{"who": "you"}', "--delay", "1h").out.strip()
    assert shell.run("run", "explain", run_id).out.startswith("scheduled: due at ")
    assert shell.json("run", "explain", run_id)["holds"][0]["kind"] == "due"
    assert shell.run("run", "reschedule", run_id, "--delay", "2h").out == "scheduled\n"
    assert shell.run("run", "priority", run_id, "7").out == "its priority is 7\n"
    assert shell.run("run", "soon", run_id).out == "queued\n"
    shell.drain()
    found = shell.json("run", "get", run_id)
    assert (found["state"], found["priority"]) == ("succeeded", 7)
    assert shell.run("run", "soon", run_id).code == 4
    again = shell.run("run", "rerun", run_id, "--payload", '{"who": "ann"}', "--app", "shop:app").out.strip()
    refused = shell.run("run", "rerun", run_id, "--payload", '{"whom": "ann"}', "--app", "shop:app")
    assert (refused.code, "takes (who, times)" in refused.err) == (2, True)
    shell.drain()
    assert shell.json("run", "get", again)["result"] == "hello ann "
    assert shell.run("run", "explain", again).out.startswith("succeeded: ended at ")


def test_dead_letters_are_listed_grouped_replayed_and_dismissed(shell: Shell) -> None:
    first, second = shell.enqueue("give_up"), shell.enqueue("give_up")
    shell.drain()
    assert [letter["run_id"] for letter in shell.json("dead-letter", "list")["data"]] == [second, first]
    (group,) = shell.json("dead-letter", "groups")["data"]
    assert (group["task"], group["code"], group["count"]) == ("give_up", "no_good", 2)
    again = shell.run("dead-letter", "replay", first)
    repeated = shell.run("dead-letter", "replay", first)
    assert (repeated.out, "already" in repeated.err) == (again.out, True)
    assert shell.run("dead-letter", "dismiss", second, "--reason", "no use").code == 2
    assert "would dismiss" in shell.run("dead-letter", "dismiss", second, "--reason", "no use", "--dry-run").out
    assert shell.run("dead-letter", "dismiss", second, "--reason", "no use", "--yes").out == "dismissed\n"
    assert shell.run("dead-letter", "replay", second).code == 4
    assert shell.json("dead-letter", "list")["data"] == []
    assert len(shell.json("dead-letter", "list", "--closed")["data"]) == 2


def test_limits_and_rates_are_set_lifted_and_reset(shell: Shell) -> None:
    assert shell.run("limit", "set", "pool:gpus", "4").out == "pool:gpus: 4 at once\n"
    assert shell.run("limit", "set", "queue:default", "10", "--per", "1s", "--burst", "3").code == 0
    found = {(view["scope"], view["measure"]): view for view in shell.json("limit", "list")["data"]}
    assert (found["pool", "at_once"]["size"], found["queue", "rate"]["size"], found["queue", "rate"]["burst"]) == (4, 10, 3)
    assert "10 in 1s, burst 3" in shell.run("limit", "list").out
    assert shell.run("limit", "lift", "pool:gpus").code == 2
    assert "would lift" in shell.run("limit", "lift", "pool:gpus", "--dry-run").out
    assert shell.run("limit", "lift", "pool:gpus", "--yes").code == 0
    assert shell.run("limit", "reset", "pool:gpus").out == "code decides again\n"
    assert shell.run("limit", "reset", "pool:gpus").out == "no operator had changed it\n"
    assert shell.run("limit", "set", "galaxy", "4").code == 2
