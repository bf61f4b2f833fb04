"""The rule of TESTS_REQUIRE: a missing service is said aloud, and fails the run that requires it."""

from __future__ import annotations

import pytest

from tests.support.services import miss, not_run, required


def test_required_services_are_a_list_with_commas() -> None:
    assert required({"TESTS_REQUIRE": "postgres, redis,"}) == {"postgres", "redis"}
    assert required({}) == frozenset()


def test_a_missing_service_skips_where_it_is_not_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TESTS_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="missing service postgres: none here"):
        miss("postgres", "none here")


def test_a_missing_service_fails_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTS_REQUIRE", "postgres")
    with pytest.raises(pytest.fail.Exception, match="TESTS_REQUIRE names it"):
        miss("postgres", "none here")


def test_what_was_not_run_is_counted_by_reason() -> None:
    assert not_run(["Skipped: b", "Skipped: a", "Skipped: a"]) == ["2 tests: a", "1 test: b"]
