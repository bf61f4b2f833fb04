"""Alerts and webhooks over HTTP: looked at, put, refused, deleted."""

from __future__ import annotations

import pytest

from mainspring import App, every
from tests.web.inside import Inside


def test_alerts_of_a_schedule_are_told_and_written_with_it(shop: App, server: Inside) -> None:
    written = {"name": "tick", "rule": {"every": "1h"}, "target": {"task": "greet"}, "alerts": {"no_success_for": "26h"}}
    made = server.post("/schedules", written)["spec"]["alerts"]
    assert (made["no_success_for"], made["late_after"]) == ("1d2h", "5m")
    assert "no_success_for" in made["kinds"]
    assert "missed" not in made["kinds"]
    wrong = server.ask("PATCH", "/schedules/tick", {"alerts": {"kinds": ["missed"], "late_after": "x"}})
    assert wrong.status == 422
    shop.client.schedules.put("held", every("1s"), "greet", payload={"who": "Ada"}, alerts={"kinds": ["held"]})
    assert server.get("/alerts")["data"] == []
    assert server.get("/alerts", params={"schedule": "held", "only_open": "true"})["data"] == []
    assert server.ask("GET", "/alerts?limit=0").wrong == ["limit"]


def test_a_webhook_is_put_listed_refused_and_deleted(server: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAINSPRING_HTTP_ALLOW", "127.0.0.1:9")
    wanted = {"url": "http://127.0.0.1:9/hooks", "kinds": ["failed"]}
    made = server.ask("PUT", "/webhooks/ops", wanted)
    assert (made.status, made.json["kinds"], made.json["secret"]) == (200, ["failed"], None)
    assert [each["name"] for each in server.get("/webhooks")["data"]] == ["ops"]
    assert server.ask("PUT", "/webhooks/bad", {"url": "http://169.254.169.254/"}).code == "target_refused"
    assert server.ask("PUT", "/webhooks/bad", {"url": "nowhere"}).status == 422
    assert server.ask("DELETE", "/webhooks/ops").json == {"changed": True}
    assert server.ask("DELETE", "/webhooks/ops").json == {"changed": False}
