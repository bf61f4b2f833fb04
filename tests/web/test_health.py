"""Health: the process lives, and is ready only if there is a point in sending it requests."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from mainspring.errors import StorageUnavailable
from mainspring.node import Node
from tests.web.inside import Answer, Inside


def why(answer: Answer) -> dict[str, bool]:
    return {check["name"]: check["ok"] for check in answer.json["checks"]}


@pytest.mark.case("schedules", 63)
def test_a_server_is_ready_once_somebody_makes_passes_of_maintenance(server: Inside) -> None:
    before = server.ask("GET", "/readyz")
    assert (before.status, before.json["status"]) == (503, "not_ready")
    assert why(before) == {"database": True, "migrations": True, "upkeep": False}
    server.node.client("default", "test").tick()
    after = server.ask("GET", "/readyz")
    assert (after.status, after.json["status"]) == (200, "ready")


def test_a_server_whose_database_is_of_newer_code_is_not_ready_and_says_so(small: Inside, tmp_path: Path) -> None:
    with closing(apsw.Connection(str(tmp_path / "small.db"))) as theirs:
        theirs.execute("INSERT INTO schema_migrations (version, name, applied_at) VALUES (9999, 'later', 0)")
    answer = small.ask("GET", "/readyz")
    assert answer.status == 503
    assert not why(answer)["migrations"]
    assert "9999" in answer.text


@pytest.mark.case("schedules", 63)
def test_a_server_whose_database_is_away_lives_and_is_not_ready(small: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise StorageUnavailable("no route to host db.internal")

    monkeypatch.setattr(small.node, "database", type("Away", (), {"read": away, "write": away})())
    assert small.ask("GET", "/healthz").json == {"status": "ok"}
    answer = small.ask("GET", "/readyz")
    assert (answer.status, why(answer)) == (503, {"database": False})
    assert "db.internal" not in answer.text


def test_status_tells_how_things_are(server: Inside) -> None:
    server.post("/runs", {"task": "a", "queue": "mail"})
    told = server.get("/status")
    assert told["queues"] == [{"queue": "mail", "queued": 1, "oldest_seconds": pytest.approx(0, abs=60)}]
    assert (told["workers"], told["dead_letters"], told["is_upkeep_ticking"]) == (0, 0, False)


def test_metrics_count_what_the_server_does(small: Inside) -> None:
    small.post("/runs", {"task": "a"})
    text = small.ask("GET", "/metrics").text
    assert 'mainspring_runs_created_total{outcome="created",queue="default",task="a"} 1.0' in text


def test_a_node_makes_passes_of_maintenance_by_itself(tmp_path: Path) -> None:
    from tests.cli.shell import wait_until

    with Node(f"sqlite:///{tmp_path / 'runs.db'}") as node, Inside(node) as server:
        wait_until(lambda: server.ask("GET", "/readyz").status == 200, "upkeep ticks")
        run_id = server.post("/runs", {"task": "a", "delay": "50ms"})["id"]
        wait_until(lambda: server.get(f"/runs/{run_id}")["state"] == "queued", "the run is due")
