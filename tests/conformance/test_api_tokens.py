"""API tokens on every database: shown once, recognised by one read, and good no longer than they should be."""

from __future__ import annotations

from typing import Any

import pytest

from mainspring import Client
from mainspring.client.api_tokens import MadeToken
from mainspring.core.access import Identity, Operation, allows, grant_of
from mainspring.core.durations import DAY, MINUTE, SECOND
from mainspring.errors import InvalidName, InvalidOption, NotAllowed, NotAuthenticated, UnknownToken
from tests.support.builders import Fleet, together


class Counting:
    """A database that counts what is asked of it."""

    def __init__(self, database: Any) -> None:
        self.asked: list[str] = []
        self._database = database

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._database, name)
        if name not in {"read", "write"}:
            return found

        def counted(called: str, fn: Any) -> Any:
            self.asked.append(called)
            return found(called, fn)

        return counted


@pytest.fixture
def client(fleet: Fleet) -> Client:
    """Whoever holds the database."""
    return Client(fleet.database, namespace="test", actor="cli:root")


def make(client: Client, role: str = "operator", **options: Any) -> MadeToken:
    return client.api_tokens.create("ci", role, **options)


def actions(client: Client) -> list[tuple[str, str, str]]:
    return [(entry.action, entry.subject, entry.actor) for entry in client.audit.list().data][::-1]


def test_a_token_opens_what_it_was_made_for(client: Client) -> None:
    made = make(client, "author", extras=["shell"])
    identity = client.api_tokens.verify(made.text)
    assert identity.actor == f"token:{made.token.id}"
    assert identity.grant == grant_of("author", ["test"], ["shell"])
    assert allows(identity, Operation.RUN_SHELL, "test")
    assert not allows(identity, Operation.CALL_HTTP, "test")
    assert not allows(identity, Operation.READ, "elsewhere")


def test_a_token_for_all_namespaces_reaches_those_to_come(client: Client) -> None:
    assert allows(client.api_tokens.verify(make(client, "viewer", namespace="*").text), Operation.READ, "not there yet")


def test_a_mistyped_token_is_refused_without_a_look_up_and_an_unknown_one_after_one(client: Client, fleet: Fleet) -> None:
    text = make(client).text
    counting = Counting(fleet.database)
    watched = Client(counting)
    with pytest.raises(NotAuthenticated, match="mistyped"):
        watched.api_tokens.verify(text[:-1] + ("0" if text[-1] != "0" else "1"))
    assert counting.asked == []
    fleet.sql("DELETE FROM api_tokens")
    with pytest.raises(NotAuthenticated, match="there is no such API token"):
        watched.api_tokens.verify(text)
    assert counting.asked == ["api_tokens.shown"]


def test_a_token_with_the_id_of_another_is_refused(client: Client, fleet: Fleet) -> None:
    one, other = make(client), make(client)
    fleet.sql(f"DELETE FROM api_tokens WHERE id = '{one.token.id}'")
    fleet.sql(f"UPDATE api_tokens SET id = '{one.token.id}' WHERE id = '{other.token.id}'")
    with pytest.raises(NotAuthenticated, match="there is no such API token"):
        client.api_tokens.verify(one.text)


def test_a_use_is_noted_at_most_once_a_minute(client: Client, fleet: Fleet) -> None:
    made = make(client)
    counting = Counting(fleet.database)
    watched = Client(counting)
    for _ in range(3):
        watched.api_tokens.verify(made.text)
    assert counting.asked == ["api_tokens.shown", "api_tokens.used", "api_tokens.shown", "api_tokens.shown"]
    first = client.api_tokens.get(made.token.id).last_used_at
    assert first is not None
    fleet.pass_time(MINUTE + SECOND)
    watched.api_tokens.verify(made.text)
    assert counting.asked[-1] == "api_tokens.used"


def test_many_uses_at_once_are_all_good_and_noted(client: Client) -> None:
    made = make(client)
    assert len(set(together(*[lambda: client.api_tokens.verify(made.text).actor] * 6))) == 1
    assert client.api_tokens.get(made.token.id).last_used_at is not None


def test_a_token_expires_at_its_instant(client: Client, fleet: Fleet) -> None:
    made = make(client, expires_in="1d")
    fleet.pass_time(DAY - MINUTE)
    client.api_tokens.verify(made.text)
    fleet.pass_time(MINUTE)
    with pytest.raises(NotAuthenticated, match=rf"the API token {made.token.id} expired at .*; ask for another"):
        client.api_tokens.verify(made.text)


def test_a_token_is_good_for_ninety_days_unless_told_and_for_ever_if_told(client: Client, fleet: Fleet) -> None:
    usual, eternal = make(client), make(client, expires_in=None)
    assert usual.token.expires_at == usual.token.created_at + 90 * DAY
    fleet.pass_time(3_000 * DAY)
    assert client.api_tokens.verify(eternal.text).actor == eternal.token.actor


def test_a_revoked_token_opens_nothing_and_stays_on_record(client: Client) -> None:
    made = make(client)
    assert client.api_tokens.revoke(made.token.id)
    assert not client.api_tokens.revoke(made.token.id)
    with pytest.raises(NotAuthenticated, match="was revoked at"):
        client.api_tokens.verify(made.text)
    assert client.api_tokens.get(made.token.id).revoked_by == "cli:root"
    assert client.api_tokens.list().data == []
    assert [token.id for token in client.api_tokens.list(revoked=True).data] == [made.token.id]
    subject = f"api_token:{made.token.id}"
    assert actions(client) == [("api_token.created", subject, "cli:root"), ("api_token.revoked", subject, "cli:root")]


def test_of_many_who_revoke_one_token_one_does(client: Client) -> None:
    made = make(client)
    assert sorted(together(*[lambda: client.api_tokens.revoke(made.token.id)] * 4)) == [False, False, False, True]
    assert [action for action, *_ in actions(client)] == ["api_token.created", "api_token.revoked"]


def test_tokens_are_listed_newest_first_page_by_page_and_by_namespace(client: Client) -> None:
    ids = [make(client).token.id for _ in range(5)]
    elsewhere = make(client, namespace="elsewhere").token.id
    found, cursor = [], None
    for _ in range(3):
        page = client.api_tokens.list(limit=2, cursor=cursor)
        found += [token.id for token in page.data]
        cursor = page.next_cursor
    assert cursor is None
    assert sorted(found) == sorted(ids)
    assert [token.id for token in client.api_tokens.list(namespace="elsewhere").data] == [elsewhere]
    assert len(client.api_tokens.list(namespace="*").data) == 6


def test_an_admin_of_a_namespace_makes_and_revokes_tokens_there_and_nowhere_else(client: Client) -> None:
    admin = client.api_tokens.verify(make(client, "admin").text)
    made = make(client, "worker", by=admin)
    assert made.token.created_by == admin.actor
    for options in ({"namespace": "elsewhere"}, {"namespace": "*"}, {"role": "author", "extras": ["shell"]}):
        with pytest.raises(NotAllowed):
            make(client, **({"role": "viewer"} | options), by=admin)
    with pytest.raises(NotAllowed):
        client.api_tokens.revoke(make(client, namespace="*").token.id, by=admin)
    assert client.api_tokens.revoke(made.token.id, by=admin)


def test_whoever_is_no_admin_makes_no_tokens(client: Client) -> None:
    for role in ("viewer", "operator", "author", "worker"):
        with pytest.raises(NotAllowed):
            make(client, "viewer", by=Identity(actor="user:bob", grant=grant_of(role, ["*"])))
    assert client.api_tokens.list(namespace="*").data == []
    assert actions(client) == []


def test_what_cannot_be_is_refused(client: Client) -> None:
    with pytest.raises(InvalidOption, match="role must be one of"):
        make(client, "root")
    with pytest.raises(InvalidOption, match="more than nothing"):
        make(client, expires_in="0s")
    with pytest.raises(InvalidName):
        client.api_tokens.create("a b", "viewer")


def test_a_token_nobody_has_is_unknown_and_a_whole_token_is_never_repeated(client: Client) -> None:
    text = make(client).text
    for wrong in ("nope", text, "0" * 11):
        for ask in (client.api_tokens.get, client.api_tokens.revoke):
            with pytest.raises(UnknownToken) as refused:
                ask(wrong)
            assert text[10:] not in refused.value.message
