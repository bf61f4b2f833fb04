"""The exception tree: codes, kinds, what each error carries, and the signals a task raises."""

import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mainspring import errors
from mainspring.core import signals
from mainspring.core.signals import Cancelled, Fail, RateLimited, Release, Retry, Skip, TaskSignal
from mainspring.errors import (
    BrokenInvariant,
    CallerMistake,
    InvalidOption,
    KeyConflict,
    MainspringError,
    PayloadInvalid,
    ResultTimeout,
    RunFailed,
    RunUnsuccessful,
    StorageConflict,
    WorldTrouble,
    shown,
)


def below(kind: type[MainspringError]) -> Iterator[type[MainspringError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from below(child)


TREE = list(below(MainspringError))
BRANCHES: list[type[MainspringError]] = [CallerMistake, WorldTrouble, RunUnsuccessful, BrokenInvariant]


def drawn_in(text: str | None) -> set[str]:
    return {line.split("─ ")[1].split()[0] for line in (text or "").splitlines() if "─ " in line}


def test_the_page_and_the_docstring_draw_the_whole_trees() -> None:
    kinds: list[type[MainspringError]] = [MainspringError, *TREE]
    page = (Path(__file__).parents[2] / "docs/reference/errors.md").read_text(encoding="utf-8")
    assert drawn_in(page) == {kind.__name__ for kind in kinds}
    assert [kind for kind in TREE if kind not in BRANCHES and f" {kind.code}" not in page] == []
    assert drawn_in(page) == {name for name, each in vars(errors).items() if isinstance(each, type)} - {"Any"}
    assert drawn_in(signals.__doc__) == {kind.__name__ for kind in (Retry, Fail, Release, RateLimited, Skip, Cancelled)}


def test_only_the_two_that_share_a_remedy_share_a_code() -> None:
    codes = [kind.code for kind in TREE]
    assert sorted({code for code in codes if codes.count(code) > 1}) == ["invalid_option"]
    assert codes.count("invalid_option") == 3


@pytest.mark.parametrize("kind", TREE)
def test_every_error_is_of_one_kind_and_only_the_worlds_trouble_is_retryable(kind: type[MainspringError]) -> None:
    kinds = [branch for branch in BRANCHES if issubclass(kind, branch)]
    assert len(kinds) == 1
    assert kind.retryable is (kinds == [WorldTrouble])


@pytest.mark.parametrize("kind", TREE)
def test_an_error_crosses_processes_with_its_details(kind: type[MainspringError]) -> None:
    error = pickle.loads(pickle.dumps(kind("it broke", run_id="7", message="theirs")))
    assert type(error) is kind
    assert (str(error), error.message) == ("it broke", "it broke")
    assert error.details == {"run_id": "7", "message": "theirs"}


def test_a_refused_payload_names_every_wrong_field() -> None:
    wrong = [{"field": "to", "message": "expected str, got int"}]
    assert PayloadInvalid("2 fields are wrong", errors=wrong).errors == wrong
    assert PayloadInvalid("no fields are named").errors == []


def test_a_key_conflict_names_its_owner_and_the_fields_that_differ() -> None:
    conflict = KeyConflict("the key is taken", owner="01985f3c", fields=["amount"])
    assert (conflict.owner, conflict.fields) == ("01985f3c", ["amount"])
    assert (KeyConflict("x").owner, KeyConflict("x").fields) == (None, [])


def test_a_failed_run_tells_which_and_why() -> None:
    failure = {"code": "smtp_down", "message": "no route"}
    failed = RunFailed("run 7 failed: no route", run_id="7", reason="error", error="no route", failure=failure)
    assert (failed.run_id, failed.reason, failed.error, failed.failure) == ("7", "error", "no route", failure)


def test_waiting_in_vain_is_a_timeout_error_too() -> None:
    with pytest.raises(TimeoutError, match="not within 1s"):
        raise ResultTimeout("not within 1s")


def test_a_conflict_is_worth_another_try() -> None:
    assert StorageConflict("5 tries collided").retryable


def test_a_refused_value_is_shown_in_part() -> None:
    assert shown("soon") == "'soon'"
    assert len(shown("x" * 10_000)) == 80
    assert shown(10**5000) == "a huge int"


# --- signals ----------------------------------------------------------------------------------------------------------

NOON = datetime(2031, 5, 1, 12, tzinfo=UTC)
SIGNALS: list[TaskSignal] = [
    TaskSignal("m"),
    Retry(),
    Retry(after="2m", code="smtp_down", message="no route"),
    Retry(after=timedelta(seconds=1)),
    Fail("bad_address", "no such mailbox"),
    Release(after=0.5, reason="not ready"),
    Release(until=NOON),
    Release(until="2031-05-01T12:00:00Z"),
    Release(immediately=True, payload={"page": 2}),
    RateLimited(after="30s", limit="api"),
    Skip("already_sent"),
    Cancelled(),
]


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_crosses_processes_unchanged(signal: TaskSignal) -> None:
    revived = pickle.loads(pickle.dumps(signal))
    assert type(revived) is type(signal)
    assert vars(revived) == vars(signal)
    assert str(revived) == str(signal)


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_is_no_error_of_the_library(signal: TaskSignal) -> None:
    assert not isinstance(signal, MainspringError)


def test_a_retry_without_arguments_leaves_the_delay_to_the_task() -> None:
    assert (Retry().after, Retry().code, Retry().message) == (None, "error", "")


@pytest.mark.parametrize("after", ["", "  ", -1, -0.5, float("nan"), float("inf"), True, [], timedelta(seconds=-1)])
@pytest.mark.parametrize("signal", [Retry, Release])
def test_what_can_be_no_delay_is_refused_at_the_line_that_wrote_it(signal: type[Retry | Release], after: Any) -> None:
    with pytest.raises(InvalidOption, match='after must be a delay such as "2m"') as caught:
        signal(after=after)
    assert caught.value.details == {"option": "after"}


@pytest.mark.parametrize(
    ("until", "complaint"),
    [
        (datetime(2031, 5, 1), "got a naive datetime: make it aware"),  # noqa: DTZ001
        ("", "write an aware datetime or"),
        (1_900_000_000, "write an aware datetime or .* got 1900000000"),
    ],
)
def test_what_can_be_no_instant_is_refused_at_the_line_that_wrote_it(until: Any, complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint) as caught:
        Release(until=until)
    assert caught.value.details == {"option": "until"}


def test_a_release_says_exactly_one_when() -> None:
    with pytest.raises(InvalidOption, match="got none of them"):
        Release()
    with pytest.raises(InvalidOption, match="got after and until"):
        Release(after="2m", until=NOON)


@pytest.mark.parametrize("code", ["", "bad address", "x" * 201, None, 7])
def test_a_code_is_a_plain_word(code: Any) -> None:
    for make in (lambda: Fail(code), lambda: Retry(code=code)):
        with pytest.raises(InvalidOption, match="code must be 1-200 characters"):
            make()


def test_a_message_is_a_string() -> None:
    with pytest.raises(InvalidOption, match="message must be a string, got ValueError"):
        Fail("bad_address", ValueError("no such mailbox"))  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="reason must be a string, got 7"):
        Release(after="2m", reason=7)  # type: ignore[arg-type]
