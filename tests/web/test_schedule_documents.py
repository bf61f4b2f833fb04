"""What schedules say, over HTTP and on both databases: created, replaced, merged, refused as a whole, and tried without being
written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mainspring import App, every
from mainspring.errors import RuleInvalid, ScheduleInvalid
from mainspring.node import Node
from tests.web.inside import Answer, ByToken, Inside, as_

NIGHTLY = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}
GREET = {"task": "greet", "payload": {"who": "Ada"}}
PUBLIC = {"http": {"method": "POST", "url": "https://93.184.216.34/ping"}}


def new(name: str = "nightly", **fields: Any) -> dict[str, Any]:
    return {"name": name, "rule": NIGHTLY, "target": GREET, **fields}


def merge(server: Inside, changes: dict[str, Any], etag: str | None = None, name: str = "nightly") -> Answer:
    return server.ask("PATCH", f"/schedules/{name}", changes, headers={} if etag is None else {"If-Match": etag})


def test_a_schedule_says_over_http_what_was_written_and_every_default(server: Inside) -> None:
    made = server.ask("POST", "/schedules", new("billing/nightly", misfire={"policy": "catch_up", "window": "7d"}, overlap="skip"))
    assert made.status == 201, made.text
    told = server.get("/schedules/billing%2Fnightly")
    assert told["spec"] == made.json["spec"]
    spec = told["spec"]
    assert (spec["rule"], spec["target"], spec["timeout"]) == (NIGHTLY, GREET, "1h")
    assert spec["misfire"] == {
        "policy": "catch_up", "grace": "1m", "window": "7d", "max": 100, "order": "oldest_first", "spacing": "0s",
    }  # fmt: skip
    assert spec["overlap"] == {
        "policy": "skip",
        "max_concurrency": 1,
        "buffer_max": 100,
        "replace_grace": "0s",
        "retries_hold_slot": False,
    }
    again = server.ask("PUT", "/schedules/billing%2Fnightly", spec)
    assert (again.status, again.json["revision"], again.headers["etag"]) == (200, 1, made.headers["etag"])


def test_a_schedule_created_twice_under_one_key_is_one(server: Inside) -> None:
    for _ in range(2):
        made = server.ask("POST", "/schedules", new(), headers={"Idempotency-Key": "deploy-1"})
        assert (made.status, made.json["revision"]) == (201, 1)
    assert len(server.get("/schedules")["data"]) == 1


@pytest.mark.case("schedules", 63)
def test_a_duplicate_name_is_a_conflict_on_create_replace_and_patch_alike(server: Inside) -> None:
    server.post("/schedules", new("a"))
    server.post("/schedules", new("b"))
    for answer in (
        server.ask("POST", "/schedules", new("a")),
        server.ask("PUT", "/schedules/b", new("a")),
        merge(server, {"name": "a"}, name="b"),
    ):
        assert (answer.status, answer.code) == (409, "name_taken")
    assert [(each["name"], each["revision"]) for each in server.get("/schedules")["data"]] == [("a", 1), ("b", 1)]
    renamed = merge(server, {"name": "c"}, name="b")
    assert (renamed.json["name"], renamed.json["revision"]) == ("c", 2)
    assert server.ask("GET", "/schedules/b").code == "unknown_schedule"


def test_an_edit_of_what_was_edited_meanwhile_is_refused(server: Inside) -> None:
    seen = server.ask("POST", "/schedules", new()).headers["etag"]
    newer = merge(server, {"priority": 5}, seen)
    assert (newer.status, newer.json["revision"]) == (200, 2)
    assert newer.headers["etag"] != seen
    for answer in (
        merge(server, {"priority": 7}, seen),
        server.ask("PUT", "/schedules/nightly", new(priority=7), headers={"If-Match": seen}),
        server.ask("PUT", "/schedules/gone", new("gone"), headers={"If-Match": seen}),
    ):
        assert (answer.status, answer.code) == (412, "changed_meanwhile")
    assert server.get("/schedules/nightly")["spec"]["priority"] == 5
    assert merge(server, {"priority": 7}, newer.headers["etag"]).status == 200
    assert merge(server, {"priority": 7}, name="nobody").code == "unknown_schedule"


def test_a_replacement_creates_what_is_not_there_and_takes_what_it_leaves_out_to_its_default(server: Inside) -> None:
    assert server.ask("PUT", "/schedules/nightly", {"rule": NIGHTLY, "target": GREET, "priority": 9}).status == 201
    changed = server.ask("PUT", "/schedules/nightly", {"rule": {"every": "5m"}, "target": GREET})
    assert (changed.status, changed.json["spec"]["priority"], changed.json["kind"]) == (200, 0, "interval")


@pytest.mark.case("schedules", 52)
def test_one_policy_field_leaves_the_others_at_their_defaults_and_null_clears_a_bound(server: Inside) -> None:
    bounds = {"start_at": "2031-01-01T00:00:00Z", "end_at": "2032-01-01T00:00:00Z"}
    made = server.post("/schedules", new(misfire={"max": 7}, retry={"max_attempts": 5}, **bounds))["spec"]
    assert (made["misfire"]["max"], made["misfire"]["policy"], made["misfire"]["grace"]) == (7, "run_once_if_late", "1m")
    assert (made["retry"]["max_attempts"], made["retry"]["backoff"]) == (5, "exponential")
    assert (made["start_at"], made["end_at"]) == (bounds["start_at"], bounds["end_at"])
    changed = merge(server, {"misfire": {"order": "newest_first"}, "end_at": None, "start_at": None}).json["spec"]
    assert changed == made | {"misfire": made["misfire"] | {"order": "newest_first"}, "start_at": None, "end_at": None}
    assert merge(server, {"misfire": {"max": None}}).json["spec"]["misfire"]["max"] == 100


def test_a_merge_leaves_what_code_said_of_a_task_and_its_payload(shop: App, work: Callable[[], None], server: Inside) -> None:
    @shop.schedule("from/code", every("5m"))
    @shop.task(name="pack", timeout="7m", max_attempts=9, backoff=["3s", "9s"])
    def pack() -> None: ...

    work()
    before = server.get("/schedules/from%2Fcode")["spec"]
    after = merge(server, {"overlap": "skip", "retry": {"max_attempts": 2}}, name="from%2Fcode").json["spec"]
    assert after == before | {
        "overlap": before["overlap"] | {"policy": "skip"},
        "retry": {"max_attempts": 2, "backoff": ["3s", "9s"]},
    }
    assert after["timeout"] == "7m"


def test_everything_that_is_wrong_is_told_at_once_with_its_path_and_value(server: Inside) -> None:
    wrong = {
        "name": "nightly",
        "rule": {"cron": "61 2 * * *", "timezone": "Local"},
        "target": {"http": {"method": "FETCH", "url": "nonsense"}},
        "misfire": {"policy": "never", "grace": "an hour"},
        "overlap": {"policy": "skip", "slots": 3},
        "retry": {"max_attempts": 0},
        "start_at": "2031-01-01T00:00:00",
    }
    answer = server.ask("POST", "/schedules", wrong)
    assert (answer.status, answer.code) == (422, "schedule_invalid")
    assert answer.wrong == [
        "misfire.grace", "misfire.policy", "overlap.slots", "retry.max_attempts", "rule.cron", "rule.timezone", "start_at",
        "target.http.method", "target.http.url",
    ]  # fmt: skip
    assert all(each["value"] and len(each["message"]) > 10 for each in answer.json["errors"])
    formless = server.ask("POST", "/schedules", wrong | {"colour": "red", "max_runs": "many"})
    assert {"colour", "max_runs", "misfire.policy", "rule.cron", "start_at"} <= set(formless.wrong)
    assert server.get("/schedules")["data"] == []


def test_a_rule_without_any_instant_is_never_due(server: Inside) -> None:
    server.post("/schedules", new())
    never = {"cron": "0 0 30 2 *", "timezone": "UTC"}
    for answer in (server.ask("POST", "/schedules", new("other", rule=never)), merge(server, {"rule": never})):
        assert (answer.status, answer.code) == (422, "never_due")
    assert server.get("/schedules/nightly")["revision"] == 1


def test_a_dry_run_tells_what_would_be_and_writes_nothing(server: Inside) -> None:
    tried = server.ask("POST", "/schedules?dry_run=true", new(rule={"every": "5m"}))
    assert (tried.status, len(tried.json["fires"]), tried.json["spec"]["target"]) == (200, 50, GREET)
    assert server.get("/schedules")["data"] == []
    server.post("/schedules", new())
    assert server.ask("POST", "/schedules?dry_run=true", new()).code == "name_taken"
    assert server.ask("PATCH", "/schedules/nightly?dry_run=true", {"priority": 3}).json["spec"]["priority"] == 3
    assert server.get("/schedules/nightly")["spec"]["priority"] == 0


def test_a_disabled_schedule_is_enabled_by_a_merge_and_a_pause_stays(shop: App, server: Inside) -> None:
    server.post("/schedules", new())
    assert merge(server, {"enabled": False}).json["state"] == "disabled"
    server.post("/schedules/nightly/pause", {"reason": "a freeze"})
    assert merge(server, {"enabled": True}).json["state"] == "paused"
    assert shop.client.schedules.disable("nightly").state == "disabled"
    server.post("/schedules/nightly/resume")
    assert shop.client.schedules.enable("nightly").state == "active"


def test_a_request_or_a_program_takes_the_scope_of_whoever_writes_it(small_node: Node) -> None:
    called, run = new(target=PUBLIC), new("p", target={"shell": {"argv": ["/bin/true"]}})
    with Inside(small_node, ByToken()) as server:
        assert server.ask("POST", "/schedules", new(), **as_("operator", "default")).status == 403
        for body, scope in ((called, "http"), (run, "shell")):
            answer = server.ask("POST", "/schedules", body, **as_("author", "default"))
            assert (answer.status, answer.code) == (403, "not_allowed")
            assert scope in answer.json["detail"]
        author = as_("author", "default+http")
        assert server.ask("POST", "/schedules", called, **author).status == 201
        assert server.ask("PATCH", "/schedules/nightly", {"priority": 2}, **as_("author", "default")).code == "not_allowed"
        assert server.ask("PATCH", "/schedules/nightly", {"priority": 2}, **author).status == 200
        private = {"target": {"http": {"method": "GET", "url": "http://169.254.169.254/"}}}
        refused = server.ask("PATCH", "/schedules/nightly", private, **author)
        assert (refused.status, refused.code) == (403, "target_refused")


@pytest.mark.case("schedules", 52)
def test_in_python_one_policy_field_leaves_the_others_too_and_all_mistakes_come_at_once(shop: App) -> None:
    schedules = shop.client.schedules
    schedules.put("tick", {"every": "5m"}, "greet", payload={"who": "Ada"}, misfire={"max": 7}, end_at="2032-01-01T00:00:00Z")
    spec = schedules.edit("tick", misfire={"spacing": "2s"}, end_at=None).spec
    assert spec is not None
    assert (spec.misfire.most, spec.misfire.spacing_us, spec.misfire.window_us, spec.end_at) == (
        7,
        2_000_000,
        30 * 86_400_000_000,
        None,
    )
    with pytest.raises(ScheduleInvalid) as told:
        schedules.put("tick", {"cron": "61 * * * *", "timezone": ""}, "greet", overlap="never", max_runs=0)
    assert sorted(each["path"] for each in told.value.errors) == ["max_runs", "overlap.policy", "rule.cron", "rule.timezone"]
    with pytest.raises(RuleInvalid):
        schedules.put("tick", {"cron": "61 * * * *", "timezone": "UTC"}, "greet")
