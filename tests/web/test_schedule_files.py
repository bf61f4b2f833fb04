"""Schedules from files over HTTP, on both databases: shown, applied as a set, written again; targets take a scope."""

from __future__ import annotations

from mainspring import App
from mainspring.node import Node
from tests.web.inside import ByToken, Inside, as_

TEXT = """
version: 1
schedules:
  - name: nightly
    rule: {cron: "30 2 * * *", timezone: Europe/Berlin}
    target: {task: greet, payload: {who: Ada}}
"""


def test_files_are_shown_applied_and_written_again(server: Inside, shop: App) -> None:
    asked = {"files": {"a.yaml": TEXT}, "set": "ours"}
    (step,) = server.ask("POST", "/schedule-files/diff", asked).json["data"]
    assert (step["name"], step["action"], len(step["after"])) == ("nightly", "create", 50)
    assert shop.client.schedules.list() == []
    (made,) = server.ask("POST", "/schedule-files/apply", asked).json["data"]
    assert made["action"] == "create"
    assert [each.name for each in shop.client.schedules.list()] == ["nightly"]
    again = server.ask("POST", "/schedule-files/apply", asked).json["data"]
    assert [each["action"] for each in again] == ["unchanged"]
    text = server.get("/schedule-files/export?set=ours")["text"]
    unchanged = server.ask("POST", "/schedule-files/diff", {"files": {"b.yaml": text}, "set": "ours"}).json["data"]
    assert [(each["action"], each["changes"]) for each in unchanged] == [("unchanged", [])]


def test_what_was_changed_by_hand_is_a_conflict_and_what_is_wrong_has_its_place(server: Inside) -> None:
    asked = {"files": {"a.yaml": TEXT}, "set": "ours"}
    server.ask("POST", "/schedule-files/apply", asked)
    server.ask("PATCH", "/schedules/nightly", {"priority": 7})
    refused = server.ask("POST", "/schedule-files/apply", asked)
    assert (refused.status, refused.code) == (409, "schedule_conflict")
    forced = server.ask("POST", "/schedule-files/apply", asked | {"force": True})
    assert [each["action"] for each in forced.json["data"]] == ["update"]
    wrong = server.ask("POST", "/schedule-files/diff", {"files": {"a.yaml": "version: 2\n"}, "set": "ours"})
    assert (wrong.status, wrong.code) == (422, "file_invalid")
    assert "a.yaml:1" in wrong.json["detail"]


def test_applying_a_request_takes_the_scope_of_whoever_applies_it(small_node: Node) -> None:
    text = TEXT.replace("{task: greet, payload: {who: Ada}}", "{http: {method: GET, url: https://93.184.216.34/}}")
    asked = {"files": {"a.yaml": text}, "set": "ours"}
    with Inside(small_node, ByToken()) as server:
        assert server.ask("POST", "/schedule-files/apply", asked, **as_("operator", "default")).status == 403
        refused = server.ask("POST", "/schedule-files/apply", asked, **as_("author", "default"))
        assert (refused.status, refused.code) == (403, "not_allowed")
        assert server.ask("POST", "/schedule-files/diff", asked, **as_("viewer", "default")).status == 200
        assert server.ask("POST", "/schedule-files/apply", asked, **as_("author", "default+http")).status == 200
