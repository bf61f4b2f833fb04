"""``mainspring task check``: whether the code at hand can read what waits, before it is deployed."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mainspring import App
from tests.cli.shell import Shell

OLD = """
from mainspring import App

app = App("shop")


@app.task(name="greet")
def greet(who: str) -> str:
    return "hello " + who


@app.task(name="count")
def count(n: int) -> int:
    return n
"""

NEW = """
from mainspring import App

app = App("shop")


@app.task(name="greet", version=2)
def greet(name: str) -> str:
    return "hello " + name


@app.task(name="count")
def count(n: str) -> str:
    return n
"""

STEP = """

@greet.upcast(from_version=1)
def renamed(payload):
    if payload["who"] == "nobody":
        raise ValueError("password=hunter22 is nobody's")
    return {"name": payload["who"]}
"""


@pytest.fixture
def waiting(shell: Shell) -> dict[str, str]:
    """Runs that wait in every way; their ids."""
    (shell.folder / "shop.py").write_text(OLD)
    app = App("shop", database=shell.url)

    @app.task(name="greet")
    def greet(who: str) -> str:
        return who

    @app.task(name="count")
    def count(n: int) -> int:
        return n

    @app.task(name="elsewhere")
    def elsewhere() -> None: ...

    with closing(app):
        from mainspring import batch

        done = batch([greet.call("member")], then=greet.call("blocked")).enqueue()
        assert done.callback is not None
        elsewhere.enqueue()
        return {
            "queued": greet.enqueue("ann").id,
            "later": greet.options(delay="1h").enqueue("bob").id,
            "member": done.members[0],
            "blocked": done.callback.id,
            "nobody": greet.enqueue("nobody").id,
            "count": count.enqueue(1).id,
        }


def test_the_code_that_made_the_runs_can_read_them(shell: Shell, waiting: dict[str, str]) -> None:
    answer = shell.run("task", "check", "shop:app")
    assert (answer.code, answer.out) == (0, "")
    assert "6 waiting runs can be read" in answer.err
    assert "1 not of this App: elsewhere" in answer.err


def test_runs_that_the_new_code_cannot_read_are_named_and_the_gate_is_shut(shell: Shell, waiting: dict[str, str]) -> None:
    (shell.folder / "shop.py").write_text(NEW)
    shut = shell.run("task", "check", "shop:app", "--json")
    assert shut.code == 1
    found = json.loads(shut.out)
    assert {run["run_id"] for run in found["unreadable"]} == set(waiting.values())
    assert found["read"] == 0
    assert "no upcaster from version 1" in str(found["unreadable"])

    (shell.folder / "shop.py").write_text(NEW + STEP)
    nearly = shell.run("task", "check", "shop:app")
    assert nearly.code == 1
    assert "4 waiting runs can be read, 2 cannot" in nearly.err
    lines = nearly.out.splitlines()
    assert lines[0] == "id\ttask\tversion\tproblem"
    rest = sorted(lines[1:])
    assert sorted([waiting["nobody"], waiting["count"]]) == [line.split("\t")[0] for line in rest]
    assert "hunter22" not in nearly.out
    assert "Expected `str`, got `int`" in nearly.out
    assert shell.json("run", "get", waiting["count"])["state"] == "queued", "nothing was changed"


def test_a_payload_into_which_a_result_is_to_come_is_checked_without_it(shell: Shell) -> None:
    from mainspring import chain, result_of

    (shell.folder / "shop.py").write_text(NEW)
    with closing(App("shop", database=shell.url)) as app:
        count = app.task(name="count")(lambda n: n)

        @app.task(name="greet", version=2)
        def greet(name: str, times: Any = 1) -> Any:
            return name * times

        first = count.call("1")
        chain(first, greet.call("ann", result_of(first))).enqueue()
        fits = count.call("2")
        chain(fits, greet.call(result_of(fits))).enqueue()
    found = json.loads(shell.run("task", "check", "shop:app", "--json").out)
    assert [run["task"] for run in found["unreadable"]] == ["greet", "greet"], "the parameter `times` went"
    assert "no such parameter" in found["unreadable"][0]["problem"]
    (shell.folder / "shop.py").write_text(NEW.replace("name: str)", "name: str, times: int = 1)"))
    assert json.loads(shell.run("task", "check", "shop:app", "--json").out)["unreadable"] == []


def test_the_older_code_leaves_what_is_newer_to_others(shell: Shell) -> None:
    (shell.folder / "shop.py").write_text(OLD)
    with closing(App("shop", database=shell.url)) as app:
        app.task(name="greet", version=3)(lambda name: name).enqueue("ann")
    answer = shell.run("task", "check", "shop:app")
    assert answer.code == 0
    assert "1 of a newer version than this code knows: greet" in answer.err


def test_more_than_a_page_is_looked_at_and_the_look_ends_at_its_limit(shell: Shell) -> None:
    (shell.folder / "shop.py").write_text(OLD)
    with closing(App("shop", database=shell.url)) as app:
        app.task(name="count")(lambda n: n).enqueue_many([(n if n % 600 else "x",) for n in range(1200)])
        app.task(name="count2", aliases=["count3"])(lambda n: n).options(delay="1h").enqueue_many([(n,) for n in range(600)])
    found = json.loads(shell.run("task", "check", "shop:app", "--json").out)
    assert (found["read"], len(found["unreadable"]), found["of_others"]) == (1198, 2, {"count2": 600})
    cut = shell.run("task", "check", "shop:app", "--limit", "1")
    assert cut.code == 1
    assert len(cut.out.splitlines()) == 2
    assert "and maybe more" in cut.err


def test_a_missing_step_is_told_before_anything_is_read(on_sqlite: Shell) -> None:
    gap = NEW.replace("version=2", "version=4") + STEP + "\ngreet.upcast(from_version=3)(dict)\n"
    (on_sqlite.folder / "shop.py").write_text(gap)
    answer = on_sqlite.run("task", "check", "shop:app")
    assert answer.code == 2
    assert "no upcaster from version 2" in answer.err


def test_what_is_sealed_or_elsewhere_is_shown_as_that_and_never_as_bytes(shell: Shell, tmp_path: Path) -> None:
    from mainspring.codec import Directory, Encrypted

    with closing(App("shop", database=shell.url, codec=Encrypted(keys={"k": bytes(32)}, current="k"))) as app:
        sealed = app.task(name="greet")(lambda who: who).enqueue("ann").id
    with closing(App("shop", database=shell.url, blobs=Directory(tmp_path / "blobs"))) as app:
        moved = app.task(name="greet")(lambda who: who).enqueue("a" * 300_000).id
    assert "(sealed, " in shell.run("run", "get", sealed, "--json").out + shell.run("run", "events", sealed, "--json").out
    assert "(in the blob store: " in shell.run("run", "events", moved, "--json").out
