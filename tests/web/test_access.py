"""Who may come in: the roles that endpoints declare, namespaces that leak nothing, and what an open server refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mainspring import every
from mainspring.core.access import Role
from mainspring.errors import ConfigurationInvalid
from mainspring.node import Node
from mainspring.web.access import RANKS, Open, check_bind
from mainspring.web.api import ENDPOINTS
from mainspring.web.openapi import document
from tests.web.inside import ByToken, Inside, as_

ABSENT = "01985f3c-7a2b-7c1d-8e4f-0123456789ab"
#: The authorisation matrix, from the document: every operation, and the least role that may do it.
MATRIX = [
    (method.upper(), path, told["x-mainspring-role"])
    for path, operations in document(ENDPOINTS)["paths"].items()
    for method, told in operations.items()
    if "x-mainspring-role" in told
]


def test_the_matrix_covers_every_operation_but_those_that_anybody_may_ask() -> None:
    assert {(method, path) for method, path, _ in MATRIX} == {
        (endpoint.method, endpoint.path)
        for endpoint in ENDPOINTS
        if (endpoint.method, endpoint.path) not in {("GET", "/healthz"), ("GET", "/readyz"), ("POST", "/api/v1/login")}
    }
    assert {role for _, _, role in MATRIX} == {"viewer", "operator", "author"}


def test_every_operation_is_refused_to_those_below_its_role_and_to_nobody_else(small_node: Node) -> None:
    ranks = list(RANKS)
    with Inside(small_node, ByToken()) as server:
        for method, path, least in MATRIX:
            there = (
                re.sub(r"\{\w+_id\}", ABSENT, path)
                .replace("{scope}", "queue")
                .replace("{measure}", "rate")
                .replace("{name}", "none")
            )
            assert server.ask(method, there).status == 401, path
            for role in ranks:
                status = server.ask(method, there, **as_(role)).status
                assert (status == 403) == (ranks.index(role) < ranks.index(Role(least))), (method, path, role, status)


def test_a_stranger_is_told_how_to_say_who_they_are(small_node: Node) -> None:
    with Inside(small_node, ByToken()) as server:
        answer = server.ask("GET", "/runs")
        assert (answer.status, answer.code) == (401, "not_authenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert server.ask("GET", "/healthz").status == 200
        assert server.ask("GET", "/metrics").status == 401


def test_nothing_of_one_namespace_is_seen_or_changed_from_another(node: Node) -> None:
    with Inside(node, ByToken()) as server:
        mine, theirs = as_("admin", "east"), as_("admin", "west")
        run_id = server.post("/runs", {"task": "a", "key": "k", "attributes": {"order": 7}, "queue": "mail"}, **mine)["id"]
        server.ask("PUT", "/limits/queue/mail/at_once", {"size": 3}, **mine)
        node.client("east", "user:ana").schedules.put("tick", every("5m"), "a")
        act = server.post("/bulk-actions", {"action": "set_priority", "runs": {"task": "a"}, "priority": 3}, **mine)["id"]
        assert [run["id"] for run in server.get("/runs", **mine)["data"]] == [run_id]
        for path in (
            "/runs",
            "/runs?attribute=order%3D7",
            "/runs?key=k",
            "/dead-letters",
            "/queues",
            "/limits",
            "/workers",
            "/tasks",
            "/events",
            "/bulk-actions",
            "/schedules",
        ):
            assert server.get(path, **theirs)["data"] == [], path
        for path in (
            f"/runs/{run_id}",
            f"/runs/{run_id}/events",
            f"/runs/{run_id}/attempts",
            f"/runs/{run_id}/explanation",
            f"/bulk-actions/{act}",
            f"/bulk-actions/{act}/outcomes",
            "/queues/mail",
            "/limits/queue/mail/at_once",
            "/schedules/tick",
            "/schedules/tick/occurrences",
            "/schedules/tick/runs",
            "/schedules/tick/revisions",
            "/schedules/tick/events",
            "/schedules/tick/explain?at=2031-01-01T00:00:00Z",
        ):
            assert server.ask("GET", path, **theirs).status == 404, path
        for path in ("cancel", "retry", "rerun", "reschedule"):
            assert server.ask("POST", f"/runs/{run_id}/{path}", {}, **theirs).status == 404, path
        assert [each["name"] for each in server.get("/namespaces", **mine)["data"]] == ["east"]
        assert server.ask("GET", "/runs?namespace=east", **theirs).code == "not_allowed"
        assert server.get(f"/runs/{run_id}", **mine)["state"] == "queued"


def test_the_limit_of_everything_is_not_set_from_one_namespace(small_node: Node) -> None:
    with Inside(small_node, ByToken()) as server:
        assert server.ask("PUT", "/limits/total/-/at_once", {"size": 0}, **as_("admin", "east")).code == "not_allowed"


def test_the_ledger_names_whoever_asked(small_node: Node) -> None:
    with Inside(small_node, ByToken()) as server:
        run_id = server.post("/runs", {"task": "a"}, **as_("operator"))["id"]
        (created,) = server.get(f"/runs/{run_id}/events", **as_("viewer"))["data"]
        assert created["actor"] == "token:operator@default"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org", ""])
def test_a_server_without_authentication_listens_to_its_own_machine_only(host: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="authentication"):
        check_bind(host, Open())


def test_a_loopback_address_may_be_open_and_any_other_with_authentication() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        check_bind(host, Open())
    check_bind("0.0.0.0", ByToken())


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8710"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_page_of_another_site_cannot_use_an_open_server(small: Inside, headers: dict[str, Any]) -> None:
    answer = small.ask("POST", "/runs", {"task": "a"}, headers=headers)
    assert (answer.status, answer.code) == (403, "not_allowed")
    assert small.get("/runs")["data"] == []


def test_a_page_of_the_server_itself_can_use_it(small: Inside) -> None:
    assert small.ask("GET", "/runs", headers={"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}).status == 200
