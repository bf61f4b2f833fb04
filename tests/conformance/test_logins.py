"""Logins on every database: opened, recognised, over in time; guesses slowed; and no secret left anywhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mainspring import Client
from mainspring.codec import passwords
from mainspring.core.durations import DAY, HOUR, MINUTE, SECOND
from mainspring.core.logins import FREE_FAILURES, IDLE_US, MOST_LOGINS
from mainspring.errors import InvalidOption, LoginThrottled, MainspringError, NotAuthenticated
from tests.support.access import PASSWORD, quick_passwords
from tests.support.builders import AnyDatabase, Fleet, together
from tests.support.faults import Fault, Faulty


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with quick_passwords():
        yield


@pytest.fixture
def client(fleet: Fleet) -> Client:
    """Whoever holds the database; there is one person, ann."""
    made = Client(fleet.database, namespace="test", actor="cli:root")
    made.users.create("ann", PASSWORD, "operator")
    return made


def fail(client: Client, name: str = "ann", times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(NotAuthenticated, match=r"^the name or the password is wrong$"):
            client.logins.open(name, "a wrong password")


def test_a_login_says_who_it_is_until_it_is_closed(client: Client) -> None:
    opened = client.logins.open("ann", PASSWORD)
    seen = client.logins.verify(opened.text)
    assert (seen.identity, seen.csrf, seen.login) == (opened.identity, opened.csrf, opened.login)
    assert (seen.identity.actor, seen.identity.grant.role) == ("user:ann", "operator")
    assert [client.logins.close(opened.text), client.logins.close(opened.text)] == [True, False]
    with pytest.raises(NotAuthenticated, match="this login was ended"):
        client.logins.verify(opened.text)
    told = [(entry.action, entry.actor) for entry in client.audit.list(subject="user:ann").data][::-1]
    assert told == [("user.created", "cli:root"), ("login.opened", "user:ann"), ("login.closed", "user:ann")]


def test_each_login_is_another_credential(client: Client) -> None:
    one, other = client.logins.open("ann", PASSWORD), client.logins.open("ann", PASSWORD)
    assert one.text != other.text
    assert one.csrf != other.csrf
    assert client.logins.close(one.text)
    assert client.logins.verify(other.text).identity.actor == "user:ann"


def test_a_csrf_token_of_another_login_is_refused(client: Client) -> None:
    one, other = client.logins.open("ann", PASSWORD), client.logins.open("ann", PASSWORD)
    assert client.logins.verify(one.text, csrf=one.csrf).identity.actor == "user:ann"
    for wrong in (other.csrf, "", one.text):
        with pytest.raises(NotAuthenticated, match="the CSRF token is not the one of this login"):
            client.logins.verify(one.text, csrf=wrong)


def test_an_unused_login_is_over_and_a_used_one_goes_on(client: Client, fleet: Fleet) -> None:
    used, unused = client.logins.open("ann", PASSWORD), client.logins.open("ann", PASSWORD)
    for _ in range(2):
        fleet.pass_time(IDLE_US - HOUR)
        client.logins.verify(used.text)
    with pytest.raises(NotAuthenticated, match="this login is over"):
        client.logins.verify(unused.text)
    assert [login.id for login in client.logins.list("ann")] == [used.login.id]


def test_a_login_in_constant_use_is_over_after_a_week(client: Client, fleet: Fleet) -> None:
    opened = client.logins.open("ann", PASSWORD)
    for _ in range(14):
        client.logins.verify(opened.text)
        fleet.pass_time(DAY // 2 - MINUTE)
    fleet.pass_time(20 * MINUTE)
    with pytest.raises(NotAuthenticated, match="this login is over"):
        client.logins.verify(opened.text)


def test_every_login_of_a_person_ends_at_once(client: Client) -> None:
    client.users.create("bob", PASSWORD, "viewer")
    texts = [client.logins.open("ann", PASSWORD).text for _ in range(3)]
    bob = client.logins.open("bob", PASSWORD)
    assert client.logins.close_all("ann", by=client.logins.verify(texts[0]).identity) == 3
    for text in texts:
        with pytest.raises(NotAuthenticated):
            client.logins.verify(text)
    assert client.logins.verify(bob.text).identity.actor == "user:bob"
    assert client.logins.close_all("ann") == 0


def test_one_person_has_a_bounded_number_of_logins(client: Client, fleet: Fleet) -> None:
    first = client.logins.open("ann", PASSWORD)
    fleet.pass_time(MINUTE)
    for _ in range(MOST_LOGINS):
        client.logins.open("ann", PASSWORD)
    assert fleet.one("SELECT count(*) FROM logins") == MOST_LOGINS
    with pytest.raises(NotAuthenticated):
        client.logins.verify(first.text)
    fleet.pass_time(DAY)
    client.logins.open("ann", PASSWORD)
    assert fleet.one("SELECT count(*) FROM logins") == 1


def test_a_wrong_name_and_a_wrong_password_are_told_alike(client: Client) -> None:
    fail(client, "ann")
    fail(client, "nobody")


def test_people_change_their_own_password_in_exchange_for_the_one_they_have(client: Client) -> None:
    text = client.logins.open("ann", PASSWORD).text
    with pytest.raises(NotAuthenticated):
        client.logins.change_password("ann", "a wrong password", "another horse battery")
    client.logins.change_password("ann", PASSWORD, "another horse battery")
    with pytest.raises(NotAuthenticated):
        client.logins.verify(text)
    assert client.logins.open("ann", "another horse battery").identity.actor == "user:ann"
    (told,) = client.audit.list(action="user.password_set").data
    assert (told.subject, told.actor) == ("user:ann", "user:ann")


def test_a_password_hashed_with_other_parameters_is_hashed_anew_by_the_next_login(client: Client, fleet: Fleet) -> None:
    before = fleet.one("SELECT password FROM users")
    text = client.logins.open("ann", PASSWORD).text
    assert fleet.one("SELECT password FROM users") == before
    with quick_passwords(passes=2):
        client.logins.open("ann", PASSWORD)
        assert "t=2" in fleet.one("SELECT password FROM users")
        client.logins.open("ann", PASSWORD)
    assert client.logins.verify(text).identity.actor == "user:ann"


# -- what goes wrong beside it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("meanwhile", ["set_password", "disable"])
def test_a_password_that_is_taken_away_while_it_is_checked_opens_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    def change(password: str, stored: str) -> bool:
        if meanwhile == "disable":
            client.users.disable("ann")
        else:
            client.users.set_password("ann", "another horse battery")
        return True

    monkeypatch.setattr(passwords, "is_right", change)
    with pytest.raises(NotAuthenticated, match="the name or the password is wrong"):
        client.logins.open("ann", PASSWORD)
    assert client.logins.list("ann") == []


ACTS: dict[str, Callable[[Client], object]] = {
    "api_tokens.create": lambda client: client.api_tokens.create("ci", "viewer").token,
    "api_tokens.revoke": lambda client: client.api_tokens.revoke(client.api_tokens.create("ci", "viewer").token.id),
    "users.create": lambda client: client.users.create("bob", PASSWORD, "viewer"),
    "users.set_password": lambda client: client.users.set_password("ann", "another horse battery"),
    "users.set_grant": lambda client: client.users.set_grant("ann", "viewer"),
    "users.disable": lambda client: client.users.disable("ann"),
    "logins.open": lambda client: client.logins.open("ann", PASSWORD),
    "logins.change_password": lambda client: client.logins.change_password("ann", PASSWORD, "another horse battery"),
    "logins.close": lambda client: client.logins.close(client.logins.open("ann", PASSWORD).text),
    "logins.close_all": lambda client: (client.logins.open("ann", PASSWORD), client.logins.close_all("ann")),
}


@pytest.mark.parametrize("name", ACTS)
def test_an_act_repeated_after_an_unknown_commit_is_done_and_recorded_once(client: Client, fleet: Fleet, name: str) -> None:
    fault = Fault(name=name, nth=1, when="after", action="raise")
    troubled = Client(Faulty(fleet.database, [fault]), namespace="test", actor="cli:root")
    ACTS[name](troubled)
    told = [entry.action for entry in client.audit.list().data if (entry.action, entry.subject) != ("user.created", "user:ann")]
    assert told
    assert len(set(told)) == len(told)
    assert client.audit.verify().broken is None


# -- guesses -----------------------------------------------------------------------------------------------------------


def test_too_many_failures_make_the_next_try_wait_even_with_the_right_password(client: Client, fleet: Fleet) -> None:
    fail(client, times=FREE_FAILURES)
    with pytest.raises(LoginThrottled) as refused:
        client.logins.open("ann", PASSWORD)
    assert 0 < refused.value.retry_after <= 1
    fleet.pass_time(2 * SECOND)
    assert client.logins.open("ann", PASSWORD).identity.actor == "user:ann"
    fail(client, times=FREE_FAILURES)  # a login that succeeded made an end of the count


def test_failures_are_counted_by_name_and_names_nobody_has_are_counted_alike(client: Client) -> None:
    fail(client, "nobody", times=FREE_FAILURES)
    with pytest.raises(LoginThrottled):
        client.logins.open("nobody", PASSWORD)
    assert client.logins.open("ann", PASSWORD).identity.actor == "user:ann"


def test_failures_outlast_the_process_that_saw_them(client: Client, rival: AnyDatabase) -> None:
    fail(client, times=FREE_FAILURES)
    with pytest.raises(LoginThrottled):
        Client(rival).logins.open("ann", PASSWORD)


def test_guesses_at_one_moment_are_as_slow_as_guesses_in_a_row(client: Client) -> None:
    def guess() -> str:
        try:
            client.logins.open("ann", "a wrong password")
        except MainspringError as error:
            return error.code
        return "opened"

    told = together(*[guess] * 12)
    assert told.count("not_authenticated") == FREE_FAILURES
    assert told.count("login_throttled") == 12 - FREE_FAILURES


def test_guesses_fill_neither_the_audit_log_nor_the_table_of_names(client: Client, fleet: Fleet) -> None:
    before = len(client.audit.list().data)
    for number in range(20):
        fail(client, f"nobody{number}")
    assert len(client.audit.list().data) == before
    assert fleet.one("SELECT count(*) FROM login_throttles") <= 20


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_no_secret_is_in_any_row_log_error_or_repr(client: Client, fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    canary, new = "canary-in-the-mine", "canary-in-the-next-mine"
    client.users.create("bob", canary, "admin", namespaces=["*"])
    login, token = client.logins.open("bob", canary), client.api_tokens.create("ci", "viewer")
    seen: list[Any] = [login, token, client.logins.verify(login.text, csrf=login.csrf), client.api_tokens.verify(token.text)]
    for wrong in (
        lambda: client.logins.open("bob", canary + "x"),
        lambda: client.logins.open("nobody", canary),
        lambda: client.logins.verify(login.text + "x"),
        lambda: client.logins.verify(token.text),
        lambda: client.logins.verify(login.text, csrf="x" + login.csrf),
        lambda: client.api_tokens.verify(token.text[:-1]),
        lambda: client.api_tokens.get(token.text),
        lambda: client.users.set_password("bob", "bob" + canary[:4]),
        lambda: client.users.create("bob", canary, "admin"),
        lambda: client.users.create(canary, canary, "admin"),
    ):
        with pytest.raises(MainspringError) as refused:
            wrong()
        seen += [refused.value, refused.value.details] if not isinstance(refused.value, InvalidOption) else [refused.value]
    client.logins.change_password("bob", canary, new)
    client.api_tokens.revoke(token.token.id)
    told = [repr(each) + str(each) for each in seen] + [caplog.text] + everything(fleet)
    secrets = [canary, new, login.text[16:], login.csrf, token.text[16:]]
    assert not [(secret, text[:80]) for secret in secrets for text in told if secret in text]


def everything(fleet: Fleet) -> list[str]:
    """Every row of every table that may know of people, as text."""
    tables = ("users", "logins", "login_throttles", "api_tokens", "audit_entries", "audit_chain")
    return [str(row) for table in tables for row in fleet.sql(f"SELECT * FROM {table}")]
