"""Looking back and ahead over HTTP, on both databases: rules tried, instants explained, runs, revisions and events, backfills, and
receipts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mainspring import App, every, shell
from tests.web.inside import Inside

BEGUN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
HOURLY = every("1h", anchor="2026-01-01T00:00:00Z")


@pytest.fixture
def scheduled(shop: App) -> App:
    """``tick``, on every full hour."""
    shop.client.schedules.put("tick", HOURLY, "greet", payload={"who": "Ada"})
    return shop


def hour(back: int) -> str:
    """A full hour, so many before the one in which the tests began."""
    return (BEGUN - timedelta(hours=back)).isoformat().replace("+00:00", "Z")


def test_a_rule_is_tried_without_being_put_anywhere(server: Inside) -> None:
    asked = {"rule": {"cron": "30 2 * * *", "timezone": "America/New_York"}, "after": "2026-03-07T12:00:00Z", "count": 2}
    first, second = server.post("/rules/preview", asked)["data"]
    assert (first["at"], second["at"]) == ("2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z")
    assert (second["walls"][0]["offset"], second["walls"][0]["note"]) == ("-04:00", "")
    assert first["walls"][0]["note"]
    wrong = server.ask("POST", "/rules/preview", {"rule": {"cron": "61 * * * *", "timezone": "Local"}})
    assert (wrong.code, wrong.wrong) == ("rule_invalid", ["rule.cron", "rule.timezone"])
    assert server.ask("POST", "/rules/preview", asked | {"count": 501}).wrong == ["count"]


def test_an_instant_is_explained_before_and_after_it_is_due(scheduled: App, server: Inside) -> None:
    def explained(at: str) -> Any:
        return server.get("/schedules/tick/explain", params={"at": at})

    coming = explained(hour(-2))
    assert (coming["is_due"], coming["code"], coming["previous"]) == (True, "to_come", hour(-1))
    between = explained(hour(-2).replace(":00:00Z", ":00:01Z"))
    assert (between["is_due"], between["code"], between["next"]) == (False, "not_due", hour(-3))
    assert explained(hour(3))["code"] == "not_created"
    assert scheduled.client.schedules.explain("tick", hour(3)).code == "not_created"
    server.post("/schedules/tick/pause", {"reason": "a freeze"})
    held = explained(hour(-2))
    assert held["code"] == "will_not_fire"
    assert "a freeze" in held["why"]
    assert server.ask("GET", "/schedules/tick/explain?at=yesterday").wrong == ["at"]


def test_the_fate_of_a_settled_instant_and_what_a_clock_change_leaves_out_are_told(shop: App, server: Inside) -> None:
    schedules = shop.client.schedules
    start = hour(4)
    schedules.put("late", HOURLY, "greet", payload={"who": "Ada"}, start_at=start)
    assert server.get("/schedules/late/explain", params={"at": start})["code"] == "unsettled"
    schedules.edit("late", priority=3)
    settled = server.get("/schedules/late/explain", params={"at": start})
    assert (settled["code"], settled["occurrence"]["disposition"], settled["revision"]) == ("decided", "coalesced", 1)
    assert server.get("/schedules/late/explain", params={"at": hour(5)})["code"] == "before_start"
    schedules.put("ny", {"cron": "30 2 * * *", "timezone": "America/New_York", "dst": {"gap": "skip"}}, "lose")
    skipped = server.get("/schedules/ny/explain?at=2027-03-14T07:00:00Z")
    assert (skipped["is_due"], [each["local"][:16] for each in skipped["skipped"]]) == (False, ["2027-03-14T02:30"])


@pytest.mark.usefixtures("scheduled")
def test_runs_revisions_and_events_are_told_in_pages(server: Inside) -> None:
    for number in range(3):
        server.post("/schedules/tick/trigger", {"reason": f"no. {number}"})
    page = server.get("/schedules/tick/runs?limit=2")
    rest = server.get("/schedules/tick/runs", params={"cursor": page["next_cursor"]})
    assert ([each["task"] for each in page["data"] + rest["data"]], rest["next_cursor"]) == (["greet"] * 3, None)
    server.ask("PATCH", "/schedules/tick", {"priority": 4})
    newest = server.get("/schedules/tick/revisions?limit=1")
    oldest = server.get("/schedules/tick/revisions", params={"cursor": newest["next_cursor"]})["data"]
    told = [(each["revision"], each["actor"], each["spec"]["priority"]) for each in newest["data"] + oldest]
    assert told == [(2, "user:local", 4), (1, oldest[0]["actor"], 0)]
    first = server.get("/schedules/tick/events?limit=2")
    more = server.get("/schedules/tick/events", params={"cursor": first["next_cursor"]})["data"]
    assert [each["type"] for each in first["data"] + more] == ["created", "triggered", "triggered", "triggered", "edited"]
    assert first["data"][1]["data"]["reason"] == "no. 0"
    assert server.ask("GET", "/schedules/tick/events?cursor=x").wrong == ["cursor"]


@pytest.mark.case("schedules", 63)
def test_what_an_unknown_schedule_ran_or_said_is_not_found(server: Inside) -> None:
    for path in ("occurrences", "runs", "revisions", "events", "explain?at=2031-01-01T00:00:00Z"):
        answer = server.ask("GET", f"/schedules/nobody/{path}")
        assert (answer.status, answer.code) == (404, "unknown_schedule"), path
    wanted = {"from": hour(3), "to": hour(2)}
    assert server.ask("POST", "/schedules/nobody/backfills", wanted).code == "unknown_schedule"
    assert server.ask("GET", "/backfills/01985f3c-7a2b-7c1d-8e4f-0123456789ab").code == "unknown_run"


@pytest.mark.usefixtures("scheduled")
def test_a_backfill_is_looked_at_begun_once_and_cancelled(work: Callable[[], None], server: Inside) -> None:
    wanted = {"from": hour(5), "to": hour(3), "include_forgotten": True}
    looked = server.post("/schedules/tick/backfills?dry_run=true", wanted)
    assert (looked["id"], looked["total"], [each["code"] for each in looked["instants"]]) == (None, 3, [None] * 3)
    assert server.get("/schedules/tick/occurrences")["data"] == []
    begun = [server.ask("POST", "/schedules/tick/backfills", wanted, headers={"Idempotency-Key": "again"}) for _ in range(2)]
    assert [each.status for each in begun] == [201, 201]
    made = begun[0].json
    assert begun[1].json["id"] == made["id"]
    cancelled = server.post(f"/backfills/{made['id']}/cancel")
    assert cancelled["cancelled_by"] == "user:local"
    told = server.get(f"/backfills/{made['id']}")
    assert [each["nominal_at"] for each in told["instants"]] == [hour(5), hour(4), hour(3)]
    assert told["instants"][0]["outcome"] == "started"
    work()
    assert server.get(f"/runs/{told['instants'][0]['run_id']}")["state"] == "succeeded"
    assert server.ask("POST", "/schedules/tick/backfills", wanted | {"only": "most", "until": 1}).wrong == ["only", "until"]
    assert server.ask("POST", "/schedules/tick/backfills", wanted | {"to": hour(-9)}).status == 422


def test_receipts_of_a_run_are_listed_and_opened(
    shop: App, work: Callable[[], None], server: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAINSPRING_SHELL_ENABLED", "true")
    monkeypatch.setenv("MAINSPRING_SHELL_ALLOW", "/bin/echo")
    shop.client.schedules.put("say", HOURLY, shell(["/bin/echo", "hello"]))
    run_id = server.post("/schedules/say/trigger", {"reason": "to hear it"})["run_id"]
    assert server.get(f"/runs/{run_id}/receipts") == {"data": []}
    work()
    kept = server.get(f"/runs/{run_id}/receipts")["data"]
    assert [(each["n"], each["kind"], each["size"]) for each in kept] == [(0, "stdout", 6), (1, "stderr", 0)]
    opened = server.get(f"/runs/{run_id}/receipts/0")
    assert opened["text"] == "hello\n"
    for n in ("2", "-1", "first"):
        assert server.ask("GET", f"/runs/{run_id}/receipts/{n}").code == "unknown_receipt", n
    assert server.ask("GET", "/runs/01985f3c-7a2b-7c1d-8e4f-0123456789ab/receipts").code == "unknown_run"
