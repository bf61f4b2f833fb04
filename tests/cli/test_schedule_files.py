"""``mainspring schedule diff|apply|export``: files become schedules, and say so."""

from __future__ import annotations

from tests.cli.shell import Shell

FILE = """
version: 1
schedules:
  - {name: a/one, rule: {every: 1h}, target: {task: greet, payload: {who: you}}}
  - {name: a/two, rule: {cron: "0 3 * * *", timezone: Europe/Berlin}, target: {task: greet}}
"""


def test_files_are_shown_applied_and_written_again(shell: Shell) -> None:
    folder = shell.folder / "schedules"
    folder.mkdir()
    (folder / "a.yaml").write_text(FILE)
    use = ("-f", str(folder), "--set", "ours")
    shown = shell.run("schedule", "diff", *use)
    assert shown.code == 0, shown
    assert "create a/one" in shown.out
    assert "  fires next: 20" in shown.out
    assert shell.json("schedule", "apply", *use, "--dry-run")["data"][0]["action"] == "create"
    assert shell.json("schedule", "list")["data"] == []
    assert shell.run("schedule", "apply", *use).code == 0
    again = shell.run("schedule", "apply", *use)
    assert (again.code, again.out) == (0, ""), again
    assert "0 changed, 2 as they were" in again.err
    exported = shell.run("schedule", "export", "--set", "ours").out
    (folder / "a.yaml").write_text(exported)
    assert shell.run("schedule", "apply", *use).out == ""
    assert shell.run("schedule", "put", "a/one", "greet", "--every", "2h").code == 0
    refused = shell.run("schedule", "apply", *use)
    assert (refused.code, "a/one: rule" in refused.err) == (4, True), refused
    (folder / "a.yaml").write_text("version: 1\nschedules: []\n")
    assert shell.run("schedule", "apply", *use, "--prune").code == 2
    assert shell.run("schedule", "apply", *use, "--prune", "--allow-large").code == 0
    assert shell.json("schedule", "list")["data"] == []


def test_a_file_that_cannot_be_is_refused_with_its_place(on_sqlite: Shell) -> None:
    path = on_sqlite.folder / "bad.yaml"
    path.write_text("version: 1\nschedules:\n  - name: x\n    name: y\n")
    refused = on_sqlite.run("schedule", "diff", "-f", str(path), "--set", "s")
    assert (refused.code, f"{path}:4:5: the key 'name' is there twice" in refused.err) == (2, True), refused
    assert on_sqlite.run("schedule", "diff", "-f", "missing.yaml", "--set", "s").code == 2
