"""``mainspring token``, ``user`` and ``audit``: as a person and a script use them."""

from __future__ import annotations

import io
import sys
from contextlib import closing

import pytest
import typer

from mainspring.cli import user
from mainspring.core.access import grant_of
from mainspring.errors import NotAuthenticated
from tests.cli.shell import Shell

PASSWORD = "correct horse battery"


def test_a_token_is_shown_once_alone_on_standard_output(shell: Shell) -> None:
    made = shell.run("token", "create", "ci", "--role", "author", "--allow", "http", "--expires", "30d")
    text = made.out.strip()
    with closing(shell.client()) as client:
        identity = client.api_tokens.verify(text)
    assert identity.grant.role == "author"
    (listed,) = shell.json("token", "list")["data"]
    assert (listed["id"], listed["name"], listed["extras"], listed["namespaces"]) == (text[5:16], "ci", ["http"], ["default"])
    assert listed["last_used_at"] is not None
    for arguments in (["token", "list"], ["token", "show", listed["id"]], ["audit", "list"]):
        answer = shell.run(*arguments)
        assert listed["id"] in answer.out
        assert text[16:] not in answer.out + answer.err + made.err


def test_a_revoked_token_opens_nothing(on_sqlite: Shell) -> None:
    made = on_sqlite.json("token", "create", "ci", "--role", "viewer", "--every-namespace", "--expires", "never")
    assert (made["namespaces"], made["expires_at"]) == ("*", None)
    assert on_sqlite.run("token", "list").out.count("\n") == 1
    assert on_sqlite.run("token", "revoke", made["id"]).code == 2
    assert on_sqlite.run("token", "revoke", made["id"], "--dry-run").out == f"would revoke {made['id']}: ci, viewer\n"
    assert on_sqlite.run("token", "revoke", made["id"], "--yes").out == "revoked\n"
    assert on_sqlite.run("token", "revoke", made["id"], "--yes").out == "it was revoked already\n"
    assert on_sqlite.run("token", "list", "--every-namespace", "--revoked").out.count("ci") == 1
    with closing(on_sqlite.client()) as client, pytest.raises(NotAuthenticated):
        client.api_tokens.verify(made["text"])


def test_bad_usage_and_unknown_tokens_and_people_are_told_apart(on_sqlite: Shell) -> None:
    assert on_sqlite.run("token", "create", "ci", "--role", "root").code == 2
    assert on_sqlite.run("token", "create", "ci", "--role", "viewer", "--allow", "shell").code == 2
    assert on_sqlite.run("token", "show", "nope").code == 3
    assert on_sqlite.run("user", "disable", "nobody", "--yes").code == 3
    assert on_sqlite.run("user", "create", "ann", "--role", "viewer", stdin="short\n").code == 2
    assert on_sqlite.run("user", "create", "ann", "--role", "viewer").code == 2  # nobody to ask, and nothing in the pipe


def test_a_persons_life_from_the_command_line(on_sqlite: Shell) -> None:
    made = on_sqlite.run("user", "create", "ann", "--role", "operator", "--in", "a", "--in", "b", stdin=f"{PASSWORD}\n")
    assert (made.code, made.out) == (0, "ann can log in\n")
    assert on_sqlite.run("user", "create", "ann", "--role", "viewer", stdin=f"{PASSWORD}\n").code == 4
    with closing(on_sqlite.client()) as client:
        assert client.logins.open("ann", PASSWORD).identity.grant == grant_of("operator", ["a", "b"])
    assert "end 1 logins" in on_sqlite.run("user", "disable", "ann", "--dry-run").out
    assert "must log in again" in on_sqlite.run("user", "password", "ann", stdin="another horse battery\n").out
    assert on_sqlite.run("user", "grant", "ann", "--role", "admin", "--every-namespace").out == "ann is admin now\n"
    (listed,) = on_sqlite.json("user", "list")["data"]
    assert (listed["role"], listed["namespaces"]) == ("admin", "*")
    assert on_sqlite.run("user", "disable", "ann", "--yes").out == "ann is kept out\n"
    assert on_sqlite.run("user", "enable", "ann").out == "ann can log in\n"
    told = [entry["action"] for entry in on_sqlite.json("audit", "list", "--subject", "user:ann")["data"]][::-1]
    assert told == [
        "user.created", "login.opened", "user.password_set", "user.granted", "user.disabled", "user.enabled",
    ]  # fmt: skip
    assert PASSWORD not in on_sqlite.run("audit", "list").out


def test_a_password_is_asked_for_twice_and_not_shown_where_a_person_sits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    def prompt(question: str, **options: object) -> str:
        asked.append({"question": question} | options)
        return PASSWORD

    monkeypatch.setattr(typer, "prompt", prompt)
    assert user._password("Password of ann") == PASSWORD
    assert asked == [{"question": "Password of ann", "hide_input": True, "confirmation_prompt": True, "err": True}]


def test_no_password_can_be_given_on_the_command_line(on_sqlite: Shell) -> None:
    for arguments in (["create", "ann", "--role", "viewer"], ["password", "ann"]):
        assert on_sqlite.run("user", *arguments, "--password", PASSWORD, stdin=f"{PASSWORD}\n").code == 2


def test_the_audit_log_is_verified_against_an_end_kept_elsewhere_and_pruned(on_sqlite: Shell) -> None:
    for name in ("one", "two"):
        on_sqlite.run("token", "create", name, "--role", "viewer")
    held = on_sqlite.run("audit", "verify")
    assert (held.code, held.out[:28]) == (0, "2 entries hold; the end is 2")
    anchor = held.out.split()[-1]
    assert on_sqlite.run("audit", "prune", "--older-than", "0s").code == 2
    assert on_sqlite.run("audit", "prune", "--older-than", "0s", "--yes").out == "2 entries removed\n"
    told = on_sqlite.json("audit", "verify", "--anchor", anchor)
    assert (told["holds"], told["start"], told["checked"]) == (True, anchor, 1)
    wrong = on_sqlite.run("audit", "verify", "--anchor", f"3:{'0' * 64}")
    assert (wrong.code, "entry 3 does not hold" in wrong.out) == (1, True)
    assert on_sqlite.run("audit", "verify", "--anchor", "here").code == 2
