"""A server that lets in who shows an API token: what a token opens, where, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.node import Node
from mainspring.web.access import Credentials, check_bind
from tests.web.inside import Inside


def made(node: Node, role: str, **options: Any) -> dict[str, Any]:
    """The headers of a new token."""
    text = node.client("default", "user:ops").api_tokens.create("t", role, **options).text
    return {"headers": {"Authorization": f"Bearer {text}"}}


@pytest.fixture
def gatekeeper(node: Node) -> Credentials:
    return Credentials(node.client("default", "server"))


def test_a_token_opens_what_its_role_may_do_and_the_ledger_names_it(node: Node, gatekeeper: Credentials) -> None:
    with Inside(node, gatekeeper) as server:
        viewer, operator = made(node, "viewer"), made(node, "operator")
        run = server.post("/runs", {"task": "greet"}, **operator)
        assert server.ask("POST", "/runs", {"task": "greet"}, **viewer).status == 403
        events = server.get(f"/runs/{run['id']}/events", **viewer)["data"]
        assert events[0]["actor"].startswith("token:")


def test_a_token_that_is_missing_mistyped_revoked_or_a_workers_opens_nothing(node: Node, gatekeeper: Credentials) -> None:
    with Inside(node, gatekeeper) as server:
        assert server.ask("GET", "/runs").status == 401
        good = made(node, "viewer")
        text = good["headers"]["Authorization"]
        wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
        assert server.ask("GET", "/runs", headers={"Authorization": wrong}).code == "not_authenticated"
        assert server.ask("GET", "/runs", headers={"Authorization": "Basic YTpi"}).status == 401
        tokens = node.client("default", "user:ops").api_tokens
        (known,) = tokens.list().data
        tokens.revoke(known.id)
        assert server.ask("GET", "/runs", **good).status == 401
        assert server.ask("GET", "/runs", **made(node, "worker")).status == 403


def test_a_token_of_one_namespace_reaches_no_other(node: Node, gatekeeper: Credentials) -> None:
    with Inside(node, gatekeeper) as server:
        own, everywhere = made(node, "operator", namespace="mine"), made(node, "operator", namespace="*")
        run = server.post("/runs", {"task": "greet"}, **own)
        assert server.ask("GET", f"/runs/{run['id']}", **everywhere).status == 404  # the server's own namespace is another
        assert server.get(f"/runs/{run['id']}?namespace=mine", **everywhere)["id"] == run["id"]
        assert server.ask("GET", "/runs?namespace=default", **own).status == 403


def test_such_a_server_may_listen_to_other_machines(gatekeeper: Credentials) -> None:
    check_bind("0.0.0.0", gatekeeper)
