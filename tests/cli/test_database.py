"""``mainspring db`` and ``doctor``: schema, damage, pruning, and databases that cannot be used."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, cast

import apsw
import psycopg

from tests.cli.shell import Shell, wait_until


def _change(url: str, sql: str) -> None:
    """Do to a database what Mainspring never would."""
    if url.startswith("sqlite:///"):
        with closing(apsw.Connection(url.removeprefix("sqlite:///"))) as connection:
            connection.execute(sql)
        return
    with psycopg.connect(url) as session:
        session.execute(cast("Any", sql))


def test_an_empty_postgres_is_refused_until_it_is_migrated(fresh_postgres: str, shop: Path) -> None:
    shell = Shell(shop, fresh_postgres)
    refused = shell.run("run", "list")
    assert refused.code == 5
    assert "mainspring db migrate" in refused.err
    before = shell.run("db", "status")
    assert before.code == 1
    assert "0001" in before.out
    assert shell.run("doctor").code == 1
    assert "applied 0001" in shell.run("db", "migrate").out
    assert shell.run("db", "migrate").out == ""
    assert shell.json("db", "status")["missing"] == []


def test_a_mistyped_file_name_makes_no_database(on_sqlite: Shell) -> None:
    refused = on_sqlite.run("run", "list", "--db", "sqlite:///typo.db")
    assert refused.code == 5
    assert "typo.db" in refused.err
    assert not (on_sqlite.folder / "typo.db").exists()
    assert on_sqlite.run("db", "migrate", "--db", "sqlite:///typo.db").code == 0
    assert (on_sqlite.folder / "typo.db").exists()


def test_status_counts_runs(shell: Shell) -> None:
    shell.enqueue("greet", who="you")
    found = shell.json("db", "status")
    assert found["runs"] == {"queued": 1}
    assert found["schema"] == found["newest_schema"]
    assert "queued\t1" in shell.run("db", "status").out


def test_a_sound_database_has_no_findings(shell: Shell) -> None:
    for number in range(3):
        shell.enqueue("greet", who=str(number))
    shell.drain()
    assert shell.json("db", "check") == {"ledgers_folded": 3, "findings": []}
    assert shell.json("db", "check", "--sample", "2")["ledgers_folded"] == 2


def test_damage_is_found_and_named(shell: Shell) -> None:
    run_id = shell.enqueue("greet", who="you")
    shell.drain()
    _change(shell.url, f"UPDATE runs SET failures = 7 WHERE id = '{run_id}'")
    found = shell.run("db", "check")
    assert found.code == 1
    assert f"run {run_id}: failures is 7 and its ledger gives 0" in found.out


def test_pruning_asks_counts_and_keeps_what_is_alive(shell: Shell) -> None:
    for number in range(3):
        shell.enqueue("greet", who=str(number))
    shell.drain()
    waiting = shell.enqueue("nobody_has_this")
    old = ["db", "prune", "--older-than", "0s"]
    assert shell.run(*old, "--dry-run").out == "3 runs to prune\n"
    refused = shell.run(*old)
    assert refused.code == 2
    assert "--yes" in refused.err
    assert shell.run("db", "prune", "--older-than", "1d", "--yes").out == "0 runs to prune\n"
    assert shell.run(*old, "--state", "cancelled", "--yes").out == "0 runs to prune\n"
    assert shell.run(*old, "--state", "succeeded", "--yes").out == "pruned 3 runs\n"
    assert [run["id"] for run in shell.json("run", "list")["data"]] == [waiting]
    assert shell.run(*old, "--state", "queued", "--yes").code == 2
    assert shell.run("db", "prune", "--older-than", "old", "--yes").code == 2


def test_a_database_from_the_future_is_refused_and_not_touched(shell: Shell) -> None:
    _change(shell.url, "INSERT INTO schema_migrations (version, name, applied_at) VALUES (9999, 'later', 0)")
    for command in (["run", "list"], ["db", "migrate"], ["db", "status"], ["worker", "shop:app", "--drain"]):
        refused = shell.run(*command)
        assert refused.code == 5, command
        assert "newer Mainspring" in refused.err
    looked = shell.run("doctor")
    assert looked.code == 1
    assert "install a newer Mainspring" in looked.out


def test_a_server_that_is_not_there_is_said_without_its_password(on_sqlite: Shell) -> None:
    refused = on_sqlite.run("run", "list", "--db", "postgresql://me:geheim@127.0.0.1:1/nothing")
    assert refused.code == 5
    assert "is the server running" in refused.err
    assert "geheim" not in refused.err + refused.out


def test_a_file_that_cannot_be_written_is_said(on_sqlite: Shell) -> None:
    (on_sqlite.folder / "a_file").write_text("no folder")
    (on_sqlite.folder / "a_folder").mkdir()
    (on_sqlite.folder / "no_database").write_text("this is a letter and not a database " * 100)
    for path in ("a_file/x.db", "a_folder", "no_database", "no_folder/x.db"):
        for command in (["worker", "shop:app", "--drain"], ["db", "migrate"]):
            refused = on_sqlite.run(*command, url=f"sqlite:///{path}")
            assert refused.code == 5, (path, command, refused)
            assert path in refused.err


def test_doctor_looks_at_everything_and_says_what_to_do(shell: Shell) -> None:
    shell.drain()
    shell.run("queue", "pause", "mail")
    shell.enqueue("nobody_has_this")
    looked = shell.json("doctor", "shop:app")["data"]
    found = {line["subject"]: line for line in looked}
    assert found["database"]["verdict"] == "ok"
    assert "(environment)" in next(line["found"] for line in looked if line["subject"] == "database")
    assert found["workers"]["verdict"] == "warning"
    assert found["queue mail"]["advice"] == "mainspring queue resume mail"
    assert found["task nobody_has_this"]["verdict"] == "warning"
    assert ("clock" in found) is shell.url.startswith("postgresql")
    assert ("journal" in found) is shell.url.startswith("sqlite")


def test_a_task_that_no_live_worker_has_is_a_problem(shell: Shell) -> None:
    shell.enqueue("nobody_has_this")
    shell.start("worker", "shop:app")
    with closing(shell.client()) as client:
        wait_until(client.workers, "the worker has said hello")
    looked = shell.run("doctor")
    assert looked.code == 1
    assert "task nobody_has_this\tproblem" in looked.out


def test_doctor_on_a_bare_folder_finds_nothing_wrong_and_makes_nothing(tmp_path: Path) -> None:
    looked = Shell(tmp_path, "").run("doctor", url=None)
    assert looked.code == 0
    assert "(default)" in looked.out
    assert list(tmp_path.iterdir()) == []
