"""An Idempotency-Key: a repeat is given the first answer, on both databases, from any server, for a day."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.core.durations import DAY, MINUTE
from mainspring.node import Node
from mainspring.operations import request_keys, retention
from mainspring.operations.request_keys import Named
from tests.web.inside import ByToken, Inside, as_


def keyed(key: str) -> dict[str, Any]:
    return {"headers": {"Idempotency-Key": key}}


def test_a_repeated_request_is_given_the_first_answer_and_does_nothing_again(server: Inside) -> None:
    first = server.ask("POST", "/runs", {"task": "a"}, **keyed("k1"))
    again = server.ask("POST", "/runs", {"task": "a"}, **keyed("k1"))
    assert (again.status, again.text) == (first.status, first.text)
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(server.get("/runs")["data"]) == 1


def test_a_rerun_and_an_act_on_many_are_begun_once(server: Inside) -> None:
    run_id = server.post("/runs", {"task": "a"})["id"]
    server.post(f"/runs/{run_id}/cancel")
    reruns = {server.post(f"/runs/{run_id}/rerun", {}, **keyed("k1"))["id"] for _ in range(2)}
    assert len(reruns) == 1
    body = {"action": "cancel", "runs": {"task": "a"}}
    answers = [server.ask("POST", "/bulk-actions", body, **keyed("k2")) for _ in range(2)]
    assert answers[0].headers["location"] == answers[1].headers["location"]
    assert len(server.get("/bulk-actions")["data"]) == 1


def test_a_key_that_was_used_for_another_request_is_refused(server: Inside) -> None:
    server.post("/runs", {"task": "a"}, **keyed("k1"))
    other = server.ask("POST", "/runs", {"task": "b"}, **keyed("k1"))
    assert (other.status, other.code) == (422, "idempotency_key_reused")


def test_a_lasting_refusal_is_an_answer_and_a_passing_one_is_not(server: Inside) -> None:
    run_id = server.post("/runs", {"task": "a"})["id"]
    path = f"/runs/{run_id}/rerun"
    assert server.ask("POST", path, {}, **keyed("k1")).code == "not_terminal"
    server.post(f"/runs/{run_id}/cancel")
    assert server.ask("POST", path, {}, **keyed("k1")).status == 201
    missing = [server.ask("POST", "/queues/late/pause", **keyed("k2")) for _ in range(2)]
    assert [answer.status for answer in missing] == [404, 404]
    assert missing[1].headers["idempotent-replayed"] == "true"


def test_two_at_once_are_not_both_answered(server: Inside) -> None:
    node, named = server.node, Named(namespace="default", actor="user:local", key="k1")
    mine, theirs = node.system.new_id(), node.system.new_id()
    first = node.database.write("t", lambda tx: request_keys.take(tx, named, request="r", made=mine))
    second = node.database.write("t", lambda tx: request_keys.take(tx, named, request="r", made=theirs))
    assert (first.how, second.how, second.made) == ("mine", "under_way", mine)


def test_a_request_whose_server_died_is_taken_over_and_makes_the_same_thing(small: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    node, named = small.node, Named(namespace="default", actor="user:local", key="k1")
    dead, heir = node.system.new_id(), node.system.new_id()
    monkeypatch.setattr(request_keys, "PATIENCE_US", -1 * MINUTE)
    node.database.write("t", lambda tx: request_keys.take(tx, named, request="r", made=dead))
    taken = node.database.write("t", lambda tx: request_keys.take(tx, named, request="r", made=heir))
    assert (taken.how, taken.made) == ("mine", dead)


def test_an_answer_is_forgotten_when_its_time_is_over(small: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_keys, "KEPT_US", -1 * DAY)
    small.post("/runs", {"task": "a"}, **keyed("k1"))
    small.node.database.write("retention.forget", lambda tx: retention.forget(tx, workers_before=0))
    assert "idempotent-replayed" not in small.ask("POST", "/runs", {"task": "a"}, **keyed("k1")).headers


def test_keys_of_two_callers_and_of_two_namespaces_never_meet(small_node: Node) -> None:
    with Inside(small_node, ByToken()) as server:
        seen = []
        for role, namespace in (("operator", "east"), ("admin", "east"), ("operator", "west")):
            headers = as_(role, namespace)["headers"] | keyed("k1")["headers"]
            seen.append(server.ask("POST", "/runs", {"task": "a"}, headers=headers).json["id"])
    assert len(set(seen)) == 3


def test_a_key_that_can_be_none_is_refused(small: Inside) -> None:
    assert small.ask("POST", "/runs", {"task": "a"}, **keyed("x" * 256)).wrong == ["Idempotency-Key"]
