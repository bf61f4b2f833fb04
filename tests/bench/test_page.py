"""The page of speeds is what its results file says, and the tables say what was measured.

Here: showing. Not here: a measurement, and how fast anything is.
"""

from __future__ import annotations

from xml.etree import ElementTree

from bench import page, results
from bench.plot import Bar, svg
from bench.works import LIMIT, NO_LEDGER, US


def test_the_page_is_what_its_results_file_makes() -> None:
    assert page.PAGE.read_text() == page.page(page.source()), "run: python -m bench --page"


def test_the_picture_is_what_the_same_file_makes() -> None:
    assert page.PICTURE.read_text() == page.picture(page.source()), "run: python -m bench --page"


def test_the_page_is_made_of_the_newest_results() -> None:
    assert page.source() == results.newest(), "run: python -m bench --page"


def test_limits_come_first_then_we_and_then_the_others_by_their_drain() -> None:
    found = {
        "measured": {
            "postgres.drain": {"slow": [10.0], US: [50.0], "quick": [90.0], LIMIT: [100.0], NO_LEDGER: [120.0]},
            "postgres.start_latency": {"never drained": [[1.0, 2.0]]},
        }
    }
    assert results.contenders(found, "postgres") == [LIMIT, NO_LEDGER, US, "quick", "slow", "never drained"]


def test_a_cell_holds_the_median_and_the_spread() -> None:
    assert results.cell([1_000.0, 3_000.0, 2_500.0]) == "2,500 (1,000–3,000)"
    assert results.cell([[1.5, 9.0], [1.0, 8.0], [2.0, 150.0]]) == "1.5 / 9.0 (1.0–2.0)"
    assert results.cell([7.0]) == "7"
    assert results.cell(None) == "-"


def test_a_bar_is_met_at_its_share_of_the_limit_and_missed_below() -> None:
    assert "| 0.60  | ≥ 0.6 | met |" in results.bars({"measured": {"postgres.drain": {LIMIT: [100.0], US: [60.0]}}})
    assert "| 0.59  | ≥ 0.6 | missed |" in results.bars({"measured": {"postgres.drain": {LIMIT: [100.0], US: [59.0]}}})


def test_a_latency_is_held_against_both_of_its_numbers() -> None:
    late = {"measured": {"postgres.start_latency": {LIMIT: [[1.0, 2.0]], US: [[1.0, 9.0]]}}}
    assert "≤ 1.5 / 4.0" in results.bars(late)
    assert "missed" in results.bars(late)


def test_a_picture_is_well_formed_and_names_everybody() -> None:
    bars = [Bar(name="<us>", kind="us", low=1.0, middle=2.0, high=3.0), Bar(name="none", kind="bar", low=0.0, middle=0.0, high=0.0)]
    drawn = ElementTree.fromstring(svg([("a & b", bars)]))
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a & b", "<us>", "none", "2"} <= set(texts)
