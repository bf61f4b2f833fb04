"""The fixtures in a project of a user's own, in a pytest of its own; and the guide, whose examples are such a project."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks

GUIDE = ROOT / "docs" / "guides" / "testing.md"

SHOP = """
from mainspring import App

app = App("shop")


@app.task
def add(a: int, b: int) -> int:
    return a + b
"""

TESTS = """
from datetime import UTC, datetime

import pytest
from mainspring.testing import SimulatedClock, assert_enqueued, drain, refute_enqueued

from shop import add, app


@pytest.fixture
def box(mainspring_sandbox):
    return mainspring_sandbox(app)


def test_first(box, mainspring_clock):
    handle = add.options(delay="1h").enqueue(1, 2)
    assert_enqueued(app, add, due_in="1h")
    mainspring_clock.advance("1h")
    drain(box)
    assert handle.result() == 3


def test_second_begins_empty(box):
    refute_enqueued(box)
    add.enqueue(1, 2)


def test_a_sandbox_that_failed_leaves_nothing_behind(box):
    refute_enqueued(box)


def test_the_clock_is_that_of_the_box(box, mainspring_clock):
    assert box.clock is mainspring_clock
    assert abs((box.clock.instant - datetime.now(UTC)).total_seconds()) < 60


def test_fails(box):
    add.enqueue(1, 2)
    assert_enqueued(box, add, args={"a": 2})
"""


def pytest_in(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A user's pytest, with warnings as errors and the database that must not be touched."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env=os.environ | {"MAINSPRING_DATABASE": f"sqlite:///{folder / 'own.db'}", "PYTEST_ADDOPTS": "", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A tiny project."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "test_shop.py").write_text(TESTS)
    return tmp_path


def test_a_project_has_the_fixtures_without_naming_them(project: Path) -> None:
    ended = pytest_in(project, "-rA")
    assert "4 passed, 1 failed" in ended.stdout.replace("1 failed, 4 passed", "4 passed, 1 failed"), ended.stdout + ended.stderr
    assert "E       AssertionError: no run waits of shop.add, with a=2" in ended.stdout
    assert "E         shop.add(a=1, b=2): queue default, due now  <- a is 1" in ended.stdout
    assert "asserting.py" not in ended.stdout, "the traceback ends in the user's test"
    assert not (project / "own.db").exists()


def test_a_project_may_give_the_clock_a_date_of_its_own(project: Path) -> None:
    (project / "test_shop.py").write_text(
        TESTS.partition("def test_")[0]
        + "@pytest.fixture\ndef mainspring_clock():\n    return SimulatedClock('2031-05-01T09:00:00Z')\n\n\n"
        + "def test_date(box):\n    assert box.clock.instant == datetime(2031, 5, 1, 9, tzinfo=UTC)\n"
    )
    ended = pytest_in(project)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_examples_of_the_guide_pass(tmp_path: Path) -> None:
    files = {block.text.split()[1]: block.text for block in blocks(GUIDE) if block.runs and block.text.startswith("# ")}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    ended = pytest_in(tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{sum(text.count('def test_') for text in files.values())} passed" in ended.stdout
    assert not (tmp_path / "own.db").exists()


def test_the_plugin_is_registered_and_loads_nothing_that_only_a_test_needs() -> None:
    (point,) = entry_points(group="pytest11", name="mainspring")
    assert point.value == "mainspring.testing.plugin"
    program = (
        "import sys, mainspring.testing.plugin; print(*(name for name in sys.modules if name.startswith('mainspring.testing')))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert [name for name in told.stdout.split() if name.startswith("mainspring")] == [
        "mainspring.testing",
        "mainspring.testing.plugin",
    ]


def test_the_package_needs_no_pytest() -> None:
    program = (
        "import sys; sys.modules['pytest'] = None; import mainspring.testing as t;"
        "print(all(getattr(t, name) for name in t.__all__))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout.strip() == "True"
