"""The page of cases tells the truth: it is what the marks in the tests say now."""

from __future__ import annotations

from tests.support.cases import PAGE, PAGES, marked, page


def test_the_page_of_cases_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.support.cases"


def test_every_mark_names_a_case_there_is() -> None:
    assert not [case for case in marked() if case[1] not in PAGES.get(case[0], {})]


def test_cases_are_numbered_without_a_gap() -> None:
    for cases in PAGES.values():
        assert list(cases) == list(range(1, len(cases) + 1))
