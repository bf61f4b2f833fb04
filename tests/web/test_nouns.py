"""Every noun on both databases: what can be seen of it and done to it, as an operator goes through it."""

from __future__ import annotations

from collections.abc import Callable

from mainspring import App
from mainspring.client.asking import Wish, request_by_name
from tests.cli.shell import wait_until
from tests.web.inside import Inside
from tests.web.living import living_worker


def test_a_run_is_created_worked_on_and_told_in_full(server: Inside, shop: App, work: Callable[[], None]) -> None:
    answer = server.ask("POST", "/runs", {"task": "greet", "payload": {"who": "Ada"}, "attributes": {"order": 7}, "priority": 5})
    assert answer.status == 201
    run_id = answer.json["id"]
    waiting = server.get(f"/runs/{run_id}")
    assert (waiting["state"], waiting["payload"], waiting["attributes"]) == ("queued", {"who": "Ada"}, {"order": 7})
    assert "no live worker" in waiting["why"]
    assert server.get(f"/runs/{run_id}/explanation")["holds"][0]["kind"] == "no_worker"
    work()
    done = server.get(f"/runs/{run_id}")
    assert (done["state"], done["result"], done["failure"], done["attempts"]) == ("succeeded", "hello Ada", None, 1)
    (tried,) = server.get(f"/runs/{run_id}/attempts")["data"]
    assert tried["outcome"] == "succeeded"
    ledger = server.get(f"/runs/{run_id}/events?limit=1")
    assert [event["type"] for event in ledger["data"]] == ["created"]
    rest = server.get(f"/runs/{run_id}/events?cursor={ledger['next_cursor']}")
    assert rest["data"][-1]["state"] == "succeeded"
    assert rest["next_cursor"] is None
    assert server.ask("POST", f"/runs/{run_id}/cancel").code == "run_terminal"


def test_runs_are_found_by_whatever_they_can_be_found_by(server: Inside) -> None:
    first = server.post("/runs", {"task": "a", "attributes": {"order": 7, "city": "Bern"}, "key": "k1"})["id"]
    second = server.post("/runs", {"task": "b", "queue": "mail", "attributes": {"order": 9}, "delay": 60})["id"]
    third = server.post("/runs", {"task": "a", "singleton": "only"})["id"]

    def found(query: str) -> set[str]:
        return {run["id"] for run in server.get(f"/runs?{query}")["data"]}

    assert found("task=a") == {first, third}
    assert found("queue=mail") == {second}
    assert found("state=queued&state=scheduled") == {first, second, third}
    assert found("state=waiting&attribute=order%3E%3D7&attribute=order%3C9") == {first}
    assert found("attribute=city%3DBern") == {first}
    assert found("key=k1") == {first}
    assert found("singleton=only") == {third}
    assert found("actor=user%3Alocal") == {first, second, third}
    assert found("created_before=2020-01-01T00%3A00%3A00Z") == set()
    assert server.ask("GET", "/runs?state=broken").wrong == ["state"]


def test_a_key_gives_the_same_run_and_another_payload_is_a_conflict(server: Inside) -> None:
    body = {"task": "a", "payload": {"n": 1}, "key": "order-7"}
    first, again = server.ask("POST", "/runs", body), server.ask("POST", "/runs", body)
    assert (first.status, again.status) == (201, 200)
    assert first.json["id"] == again.json["id"]
    conflict = server.ask("POST", "/runs", body | {"payload": {"n": 2}})
    assert (conflict.status, conflict.code) == (409, "key_conflict")


def test_a_waiting_run_is_steered_and_cancelled(server: Inside) -> None:
    run_id = server.post("/runs", {"task": "a", "delay": "1h"})["id"]
    assert server.post(f"/runs/{run_id}/reschedule", {"delay": "2h"})["state"] == "scheduled"
    assert server.post(f"/runs/{run_id}/reschedule")["state"] == "queued"
    assert server.post(f"/runs/{run_id}/priority", {"priority": 9})["changed"] is True
    assert server.post(f"/runs/{run_id}/priority", {"priority": 9})["changed"] is False
    assert server.post(f"/runs/{run_id}/cancel", {"reason": "not wanted"})["state"] == "cancelled"
    assert server.get(f"/runs/{run_id}")["reason"] == "not wanted"
    assert server.ask("POST", f"/runs/{run_id}/release", {"reason": "x"}).code == "not_terminal"


def test_a_failed_run_is_a_dead_letter_until_it_is_replayed(server: Inside, shop: App, work: Callable[[], None]) -> None:
    run_id = server.post("/runs", {"task": "lose"})["id"]
    work()
    assert server.get(f"/runs/{run_id}")["failure"]["code"] == "no_good"
    (letter,) = server.get("/dead-letters?task=lose")["data"]
    assert (letter["run_id"], letter["code"]) == (run_id, "no_good")
    assert server.get("/dead-letters/groups")["data"][0]["count"] == 1
    first = server.ask("POST", f"/dead-letters/{run_id}/replay")
    again = server.ask("POST", f"/dead-letters/{run_id}/replay")
    assert (first.status, again.status) == (201, 200)
    assert first.json["id"] == again.json["id"]
    assert server.get(f"/dead-letters/{run_id}")["replayed_as"] == first.json["id"]
    assert server.get("/dead-letters")["data"] == []
    work()
    assert server.post(f"/dead-letters/{first.json['id']}/dismiss", {"reason": "hopeless"})["changed"] is True
    assert server.ask("POST", f"/dead-letters/{first.json['id']}/replay").code == "dead_letter_closed"


def test_what_has_ended_is_retried_or_rerun_with_other_arguments(server: Inside, shop: App, work: Callable[[], None]) -> None:
    lost = server.post("/runs", {"task": "lose"})["id"]
    done = server.post("/runs", {"task": "greet", "payload": {"who": "Ada"}})["id"]
    work()
    assert server.ask("POST", f"/runs/{lost}/retry").status == 201
    assert server.ask("POST", f"/runs/{done}/retry").code == "not_terminal"
    again = server.post(f"/runs/{done}/rerun", {"payload": {"who": "Bob"}})["id"]
    work()
    assert server.get(f"/runs/{again}")["result"] == "hello Bob"
    assert server.get(f"/runs/{again}")["rerun_of"] == done


def test_a_queue_is_paused_resumed_and_edited(server: Inside, shop: App) -> None:
    _ = shop.client
    assert [queue["name"] for queue in server.get("/queues?limit=1")["data"]] == ["default"]
    assert server.post("/queues/mail/pause") == {"name": "mail", "paused": True, "changed": True}
    mail = server.get("/queues/mail")
    assert (mail["paused_by"], mail["limit"], mail["used"], mail["queued"]) == ("user:local", 3, 0, 0)
    assert server.post("/queues/mail/resume")["changed"] is True
    edited = server.ask("PATCH", "/queues/mail", {"limit": 9, "max_waiting": 100, "overflow": "skip"})
    assert (edited.json["limit"], edited.json["max_waiting"], edited.json["overflow"]) == (9, 100, "skip")
    assert server.ask("PATCH", "/queues/mail", {"limit": None}).json["limit"] is None
    assert server.ask("GET", "/queues/nobody%2Fs").code == "unknown_queue"


def test_an_edit_of_what_somebody_else_changed_is_refused(server: Inside, shop: App) -> None:
    _ = shop.client
    seen = server.ask("GET", "/queues/mail").headers["etag"]
    mine = server.ask("PATCH", "/queues/mail", {"limit": 5}, headers={"If-Match": seen})
    assert mine.status == 200
    theirs = server.ask("PATCH", "/queues/mail", {"limit": 7}, headers={"If-Match": seen})
    assert (theirs.status, theirs.code) == (412, "changed_meanwhile")
    assert server.get("/queues/mail")["limit"] == 5
    assert server.ask("PATCH", "/queues/mail", {"limit": 7}, headers={"If-Match": mine.headers["etag"]}).status == 200


def test_limits_are_set_lifted_and_given_back_to_code(server: Inside, shop: App) -> None:
    _ = shop.client
    path = "/limits/queue/mail/at_once"
    before = server.ask("GET", path)
    assert before.json["size"] == 3
    put = server.ask("PUT", path, {"size": 8}, headers={"If-Match": before.headers["etag"]})
    assert (put.json["size"], put.json["source"]) == (8, "operator")
    assert server.ask("PUT", path, {"size": 9}, headers={"If-Match": before.headers["etag"]}).status == 412
    rate = server.ask("PUT", "/limits/task/mail%2Fsend/rate", {"size": 10, "per": "1s", "burst": 2})
    assert (rate.json["name"], rate.json["per_seconds"]) == ("mail/send", 1.0)
    assert server.ask("PUT", "/limits/total/-/at_once", {"size": None}).json["size"] is None
    assert {limit["scope"] for limit in server.get("/limits")["data"]} == {"queue", "task", "total"}
    assert server.ask("DELETE", path).json == {"changed": True}
    assert server.ask("DELETE", path).json == {"changed": False}
    assert server.ask("PUT", path, {"size": 8, "per": "1s"}).wrong == ["per"]
    assert server.ask("GET", "/limits/pool/none/at_once").code == "unknown_limit"


def test_a_batch_is_looked_at_and_cancelled(server: Inside, shop: App) -> None:
    members = [request_by_name(shop.namespace, "greet", {"who": who}, Wish()) for who in ("Ada", "Bob")]
    batch = shop.client.batches.create(members, {})
    assert server.get(f"/batches/{batch.id}")["open"] == 2
    cancelled = server.post(f"/batches/{batch.id}/cancel", {"reason": "not wanted"})
    assert (cancelled["open"], cancelled["stopped"], cancelled["is_over"]) == (0, 2, True)
    assert {run["state"] for run in server.get(f"/runs?batch={batch.id}")["data"]} == {"cancelled"}


def test_workers_tell_which_tasks_there_are(server: Inside, shop: App) -> None:
    with living_worker(shop):
        (worker,) = server.get("/workers?state=live")["data"]
        assert worker["tasks"] == ["greet", "lose", "http"]
        assert server.get(f"/workers/{worker['id']}") == worker
        assert server.get("/tasks/greet") == {"name": "greet", "workers": 1, "queues": ["default", "mail"]}
        assert [task["name"] for task in server.get("/tasks")["data"]] == ["greet", "http", "lose"]
        assert server.get("/status")["workers"] == 1
    assert server.ask("GET", "/workers/nobody").code == "unknown_worker"
    assert server.ask("GET", "/tasks/greet").code == "unknown_task"


def test_an_act_on_many_runs_is_previewed_begun_and_watched(server: Inside) -> None:
    ids = {server.post("/runs", {"task": "a", "attributes": {"n": n}})["id"] for n in range(3)}
    kept = server.post("/runs", {"task": "b"})["id"]
    asked = {"action": "cancel", "runs": {"task": "a", "state": ["waiting"]}, "reason": "not wanted"}
    preview = server.post("/bulk-actions/preview", asked)
    assert (preview["total"], preview["is_exact"], len(preview["sample"])) == (3, True, 3)
    assert preview["effects"] == [{"state": "queued", "runs": 3, "does": "cancelled", "refused": None}]
    assert server.get("/runs?state=cancelled")["data"] == []
    begun = server.ask("POST", "/bulk-actions", asked)
    assert begun.status == 202
    path = f"/bulk-actions/{begun.json['id']}"
    assert begun.headers["location"] == f"/api/v1{path}"
    _until_over(server, path)
    told = server.get(path)
    assert (told["done"], told["succeeded"], told["changed"], told["refused"]) == (3, 3, 0, {})
    outcomes = server.get(f"{path}/outcomes?limit=2")
    rest = server.get(f"{path}/outcomes?cursor={outcomes['next_cursor']}")
    assert {each["run_id"] for each in outcomes["data"] + rest["data"]} == ids
    assert server.get(f"/runs/{kept}")["state"] == "queued"
    assert server.get("/bulk-actions")["data"][0]["id"] == begun.json["id"]
    assert server.ask("POST", "/bulk-actions", {"action": "set_priority", "runs": {}}).wrong == ["priority"]


def test_namespaces_are_told_with_what_is_in_each(server: Inside) -> None:
    server.post("/runs?namespace=east", {"task": "a"})
    server.post("/runs?namespace=west", {"task": "a"})
    server.post("/runs?namespace=west", {"task": "a"})
    told = {each["name"]: each["queued"] for each in server.get("/namespaces")["data"]}
    assert told == {"east": 1, "west": 2}


def _until_over(server: Inside, path: str) -> None:
    wait_until(lambda: server.get(path)["finished_at"], "the act is over")
