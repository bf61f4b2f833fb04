"""``mainspring calendar``: named days, put, seen, used and deleted."""

from __future__ import annotations

from pathlib import Path

from tests.cli.shell import Shell


def test_a_calendar_is_put_seen_and_deleted(shell: Shell, tmp_path: Path) -> None:
    put = shell.run(
        "calendar", "put", "office", "--hours", "mon-fri=09:00-17:00", "--without", "2031-12-24", "--without", "holidays:DE"
    )
    assert put.out == "office is at version 1; planned again: -\n", put
    file = tmp_path / "shifts.yaml"
    file.write_text('hours:\n  - {days: mon-fri, from: "09:00", until: "17:00"}\ndates: [2031-12-05]\n', encoding="utf-8")
    assert shell.run("calendar", "put", "shifts", "--file", str(file)).code == 0
    assert shell.json("calendar", "show", "shifts")["says"]["dates"] == ["2031-12-05"]
    assert "2031-12-05" in shell.run("calendar", "show", "shifts").out
    assert [each["name"] for each in shell.json("calendar", "list")["data"]] == ["office", "shifts"]
    assert "office" in shell.run("calendar", "list").out
    assert shell.run("calendar", "delete", "office", "--yes").out == "office is gone\n"
    assert shell.run("calendar", "show", "office").code == 3


def test_what_is_wrong_with_a_calendar_is_told(on_sqlite: Shell, tmp_path: Path) -> None:
    assert on_sqlite.run("calendar", "put", "x").code == 2
    assert on_sqlite.run("calendar", "put", "x", "--date", "soon").code == 2
    file = tmp_path / "list.yaml"
    file.write_text("- 2031-12-05\n", encoding="utf-8")
    assert "what the calendar is made of" in on_sqlite.run("calendar", "put", "x", "--file", str(file)).err
    assert "ISO code" in on_sqlite.run("calendar", "put", "x", "--holidays", "Atlantis").err
