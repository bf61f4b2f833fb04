"""Schedules over HTTP, on both databases: looked at, steered, and their ledger in pages."""

from __future__ import annotations

import pytest

from mainspring import App, cron, every
from tests.web.inside import Inside


@pytest.fixture
def scheduled(shop: App) -> App:
    """``billing/nightly`` on the clocks of Berlin, and ``tick``."""
    shop.client.schedules.put("billing/nightly", cron("30 2 * * *", tz="Europe/Berlin"), "lose")
    shop.client.schedules.put("tick", every("5m"), "greet", payload={"who": "Ada"})
    return shop


@pytest.mark.usefixtures("scheduled")
def test_a_schedule_is_listed_paused_resumed_and_deleted(server: Inside) -> None:
    first = server.get("/schedules?limit=1")
    assert [each["name"] for each in first["data"]] == ["billing/nightly"]
    rest = server.get(f"/schedules?limit=1&cursor={first['next_cursor']}")
    assert ([each["name"] for each in rest["data"]], rest["next_cursor"]) == (["tick"], None)
    paused = server.post("/schedules/billing%2Fnightly/pause", {"reason": "upstream down"})
    assert (paused["state"], paused["paused_by"]) == ("paused", "user:local")
    assert server.get("/schedules/billing%2Fnightly")["next_at"] is None
    assert server.post("/schedules/billing%2Fnightly/resume")["state"] == "active"
    assert server.ask("DELETE", "/schedules/billing%2Fnightly").json == {"name": "billing/nightly"}
    assert server.ask("GET", "/schedules/billing%2Fnightly").code == "unknown_schedule"


@pytest.mark.usefixtures("scheduled")
def test_a_preview_shows_what_clocks_on_the_wall_show(server: Inside) -> None:
    due = server.get("/schedules/billing%2Fnightly/preview?count=3")["data"]
    assert len(due) == 3
    assert all(wall["zone"] == "Europe/Berlin" and wall["offset"] in ("+01:00", "+02:00") for each in due for wall in each["walls"])
    assert server.ask("GET", "/schedules/tick/preview?count=501").status == 422


@pytest.mark.usefixtures("scheduled")
def test_a_trigger_asked_twice_under_one_key_fires_once(server: Inside) -> None:
    asked = {"reason": "after the outage", "payload": {"who": "Bob"}}
    made = [server.ask("POST", "/schedules/tick/trigger", asked, headers={"Idempotency-Key": "ops-4711"}) for _ in range(2)]
    assert [each.status for each in made] == [201, 201]
    told = made[0].json
    assert (told["occurrence_key"], told["disposition"], told["actor"]) == (f"manual:{told['run_id']}", "fired", "user:local")
    (kept,) = server.get("/schedules/tick/occurrences")["data"]
    assert (kept["run_id"], kept["reason"], kept["origin"]) == (told["run_id"], "after the outage", "manual")
    assert server.get(f"/runs/{told['run_id']}")["payload"] == {"who": "Bob"}
    assert server.ask("POST", "/schedules/tick/trigger", {"reason": ""}).wrong == ["reason"]


@pytest.mark.usefixtures("scheduled")
def test_pages_of_two_over_seven_occurrences_give_seven_in_order(server: Inside) -> None:
    assert server.get("/schedules/tick/occurrences") == {"data": [], "next_cursor": None}
    for number in range(7):
        server.post("/schedules/tick/trigger", {"reason": f"no. {number}"})
    seen, cursor = [], ""
    while cursor is not None:
        page = server.get(f"/schedules/tick/occurrences?limit=2{cursor and '&cursor=' + cursor}")
        seen += page["data"]
        cursor = page["next_cursor"]
    assert len({each["key"] for each in seen}) == len(seen) == 7
    assert [each["nominal_at"] for each in seen] == sorted((each["nominal_at"] for each in seen), reverse=True)
    assert server.ask("GET", "/schedules/tick/occurrences?cursor=99999999999999999999~a").wrong == ["cursor"]


def test_what_an_unknown_schedule_is_asked_is_not_found(server: Inside) -> None:
    assert server.get("/schedules") == {"data": [], "next_cursor": None}
    for path in ("", "/preview", "/occurrences"):
        assert server.ask("GET", f"/schedules/nobody%2Fs{path}").code == "unknown_schedule", path
    assert server.ask("POST", "/schedules/nobody/pause", {"reason": "none"}).code == "unknown_schedule"


def test_a_calendar_is_put_used_changed_and_deleted(server: Inside) -> None:
    says = {"hours": [{"days": "mon-fri", "from": "09:00", "until": "17:00"}], "without": {"dates": ["2031-12-24"]}}
    made = server.ask("PUT", "/calendars/de%2Foffice", says).json
    assert (made["name"], made["version"], made["removed"], made["schedules"]) == ("de/office", 1, ["2031-12-24"], [])
    rule = {"calendar": "de/office", "at": "10:00", "timezone": "Europe/Berlin"}
    server.post("/schedules", {"name": "open", "rule": rule, "target": {"task": "greet", "payload": {"who": "Ada"}}})
    assert server.get("/calendars/de%2Foffice")["schedules"] == ["open"]
    assert server.ask("DELETE", "/calendars/de%2Foffice").code == "calendar_in_use"
    again = server.ask("PUT", "/calendars/de%2Foffice", {"dates": ["2031-12-23"]}).json
    assert (again["version"], again["says"], again["schedules"]) == (2, {"dates": ["2031-12-23"]}, ["open"])
    server.ask("DELETE", "/schedules/open")
    assert server.ask("DELETE", "/calendars/de%2Foffice").json == {"name": "de/office"}
    assert server.ask("GET", "/calendars/de%2Foffice").code == "unknown_calendar"
    refused = server.ask("PUT", "/calendars/x", {"dates": ["soon"], "holidays": ["Atlantis"]})
    assert (refused.status, refused.code, refused.wrong) == (422, "rule_invalid", ["dates[0]", "holidays[0]"])


def test_calendars_are_told_in_pages(server: Inside) -> None:
    for name in ("c", "a", "b"):
        server.ask("PUT", f"/calendars/{name}", {"dates": ["2031-12-24"]})
    first = server.get("/calendars?limit=2")
    rest = server.get("/calendars", params={"cursor": first["next_cursor"]})
    assert ([each["name"] for each in first["data"] + rest["data"]], rest["next_cursor"]) == (["a", "b", "c"], None)


@pytest.mark.usefixtures("scheduled")
def test_a_blackout_is_put_refuses_a_trigger_and_is_deleted(server: Inside) -> None:
    says = {"from": "2020-01-01T00:00:00Z", "to": "2020-06-01T00:00:00Z", "policy": "skip", "schedules": ["tick"]}
    made = server.ask("PUT", "/blackouts/freeze", says).json
    assert (made["schedules"], made["says"]) == (["tick"], says)
    assert server.post("/schedules/tick/trigger", {"reason": "over by now"})["disposition"] == "fired"
    always = {"rule": {"every": "1h", "anchor": "2020-01-01T00:00:00Z"}, "for": "1h", "policy": "defer", "reason": "a look"}
    assert server.ask("PUT", "/blackouts/freeze", always).json["schedules"] == ["billing/nightly", "tick"]
    assert [each["name"] for each in server.get("/blackouts")["data"]] == ["freeze"]
    refused = server.ask("POST", "/schedules/tick/trigger", {"reason": "now"})
    assert (refused.status, refused.code) == (409, "blacked_out")
    assert server.ask("POST", "/schedules/tick/trigger", {"reason": "now", "ignore_blackout": True}).status == 201
    assert server.ask("DELETE", "/blackouts/freeze").json == {"name": "freeze"}
    assert server.ask("GET", "/blackouts/freeze").code == "unknown_blackout"
    wrong = server.ask("PUT", "/blackouts/x", {"policy": "skip", "from": "soon"})
    assert (wrong.status, wrong.code) == (422, "rule_invalid")


@pytest.mark.usefixtures("scheduled")
def test_what_a_restored_database_holds_back_is_told_and_decided(server: Inside, shop: App) -> None:
    shop.client.schedules.put("often", every("1s"), "greet", payload={"who": "Ada"}, start_at="2020-01-01T00:00:00Z")
    shop.client.schedules.put("seldom", every("1s"), "greet", payload={"who": "Ada"}, start_at="2020-01-01T00:00:00Z")
    assert shop.client.holds.restored() == 2
    first = server.get("/holds?limit=1")
    rest = server.get("/holds", params={"cursor": first["next_cursor"]})
    assert ([each["name"] for each in first["data"] + rest["data"]], rest["next_cursor"]) == (["often", "seldom"], None)
    assert first["data"][0]["after"] < first["data"][0]["upto"]
    wanted = {"policy": "suppress", "reason": "they ran before the disk died"}
    assert server.ask("POST", "/holds/decide", wanted).status == 422
    assert server.ask("POST", "/holds/decide", {**wanted, "schedule": "none"}).code == "unknown_schedule"
    assert server.ask("POST", "/holds/decide", {**wanted, "reason": "  ", "all": True}).status == 422
    assert server.post("/holds/decide", {**wanted, "schedule": "often"}) == {"schedules": 1}
    assert server.post("/holds/decide", {**wanted, "all": True}) == {"schedules": 1}
    assert server.get("/holds")["data"] == []


@pytest.mark.usefixtures("scheduled")
def test_schedules_are_found_by_query_parameters(server: Inside) -> None:
    server.ask("PATCH", "/schedules/tick", {"attributes": {"team": "billing"}})

    def found(query: str) -> list[str]:
        return [each["name"] for each in server.get(f"/schedules?{query}")["data"]]

    assert found("kind=cron") == ["billing/nightly"]
    assert found("prefix=billing/&state=active&state=paused") == ["billing/nightly"]
    assert found("attribute=team%3Dbilling&target=greet") == ["tick"]
    assert found("state=broken") == []
    assert server.ask("GET", "/schedules?state=asleep").wrong == ["state"]
    assert server.ask("GET", "/schedules?next_before=soon").wrong == ["next_before"]
