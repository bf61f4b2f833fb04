"""People at a server that lets in who shows a login: the cookie, the token against other sites, and the end of it."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring.node import Node
from mainspring.web.access import Credentials
from tests.web.inside import Answer, Inside

PASSWORD = "correct horse battery staple"


@pytest.fixture
def server(node: Node) -> Any:
    node.client("default", "user:ops").users.create("ana", PASSWORD, "operator", namespaces=["default"])
    with Inside(node, Credentials(node.client("default", "server"))) as server:
        yield server


def log_in(server: Inside, password: str = PASSWORD) -> Answer:
    return server.ask("POST", "/login", {"name": "ana", "password": password})


def shown(answer: Answer, **headers: str) -> dict[str, Any]:
    """The headers of a browser that has this answer's cookie."""
    return {"headers": {"Cookie": answer.headers["set-cookie"].partition(";")[0]} | headers}


def test_a_person_logs_in_and_acts_under_their_own_name(server: Inside) -> None:
    came = log_in(server)
    assert came.status == 201
    mine = shown(came, **{"Mainspring-CSRF": came.json["csrf"]})
    assert server.get("/login", **mine) == {
        "actor": "user:ana", "role": "operator", "namespace": "default", "csrf": came.json["csrf"],
    }  # fmt: skip
    run = server.post("/runs", {"task": "greet"}, **mine)
    assert server.get(f"/runs/{run['id']}/events", **mine)["data"][0]["actor"] == "user:ana"


def test_the_cookie_is_for_this_host_alone_and_no_script(server: Inside) -> None:
    cookie = log_in(server).headers["set-cookie"]
    assert cookie.startswith("__Host-mainspring=mspl_")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= {part.strip() for part in cookie.split(";")}


def test_what_changes_something_needs_the_token_of_this_very_login(server: Inside) -> None:
    came, other = log_in(server), log_in(server)
    assert server.ask("GET", "/runs", **shown(came)).status == 200
    assert server.ask("POST", "/runs", {"task": "greet"}, **shown(came)).code == "not_authenticated"
    wrong = shown(came, **{"Mainspring-CSRF": other.json["csrf"]})
    assert server.ask("POST", "/runs", {"task": "greet"}, **wrong).status == 401
    assert server.get("/runs", **shown(came))["data"] == []


def test_a_wrong_password_and_a_name_that_nobody_has_are_answered_alike_and_slowed_down(server: Inside) -> None:
    wrong = log_in(server, "wrong horse battery staple")
    nobody = server.ask("POST", "/login", {"name": "nobody", "password": PASSWORD})
    assert (wrong.status, wrong.json["detail"]) == (nobody.status, nobody.json["detail"]) == (401, wrong.json["detail"])
    assert "set-cookie" not in wrong.headers
    statuses = [log_in(server, "wrong horse battery staple").status for _ in range(6)]
    assert statuses[-1] == 429
    assert log_in(server).status == 429


def test_a_login_that_was_ended_opens_nothing(server: Inside) -> None:
    came = log_in(server)
    mine = shown(came, **{"Mainspring-CSRF": came.json["csrf"]})
    ended = server.ask("DELETE", "/login", **mine)
    assert (ended.json, "Max-Age=0" in ended.headers["set-cookie"]) == ({"ended": True}, True)
    assert server.ask("GET", "/runs", **mine).status == 401


def test_another_password_ends_every_login(server: Inside) -> None:
    came, other = log_in(server), log_in(server)
    mine = shown(came, **{"Mainspring-CSRF": came.json["csrf"]})
    changed = {"old": PASSWORD, "new": "a wholly different thing"}
    assert server.ask("PUT", "/login/password", changed | {"old": "not this one, surely"}, **mine).status == 401
    assert server.ask("PUT", "/login/password", changed, **mine).json == {"actor": "user:ana"}
    assert [server.ask("GET", "/runs", **shown(each)).status for each in (came, other)] == [401, 401]
    assert log_in(server, changed["new"]).status == 201


def test_a_cookie_that_is_no_login_opens_nothing(server: Inside) -> None:
    for cookie in ("__Host-mainspring=mspl_nonsense", "__Host-mainspring=", "a=b; c", "\x7f"):
        assert server.ask("GET", "/runs", headers={"Cookie": cookie}).status == 401


def test_a_token_logs_nobody_out_and_changes_no_password(node: Node, server: Inside) -> None:
    text = node.client("default", "user:ops").api_tokens.create("t", "viewer").text
    mine = {"headers": {"Authorization": f"Bearer {text}"}}
    assert server.ask("DELETE", "/login", **mine).json == {"ended": False}
    assert server.get("/login", **mine)["csrf"] is None
    assert server.ask("PUT", "/login/password", {"old": PASSWORD, "new": "a wholly different thing"}, **mine).wrong == ["old"]
