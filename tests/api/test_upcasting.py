"""Payloads of older code: what tells two schemas apart, and what becomes of a run that waited through a deploy."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import pydantic
import pytest

from mainspring import App, State
from mainspring.codec import payload_schema
from mainspring.context import Context
from mainspring.errors import InvalidOption
from mainspring.testing import invariants
from tests.api.conftest import Drain, NewApp
from tests.runtime import versioned

ROOT = Path(__file__).resolve().parents[2]


def fingerprint(function: Any) -> str:
    return payload_schema(function, Context).fingerprint


class Order(msgspec.Struct):
    id: int
    lines: list[str] = msgspec.field(default_factory=list)


@dataclasses.dataclass
class Tree:
    """A type that holds itself."""

    name: str
    children: list[Tree]


@dataclasses.dataclass
class Baum:
    name: str
    children: list[Baum]


class Customer(pydantic.BaseModel):
    name: str
    age: pydantic.PositiveInt = 18


def described() -> type:
    class Customer(pydantic.BaseModel):
        """The same in other words."""

        age: pydantic.PositiveInt = pydantic.Field(default=19, title="Years", description="how old")
        name: str

    return Customer


def one(order: Order, note: str | None = None, kind: Literal["a", "b"] = "a") -> None: ...


def test_a_fingerprint_says_what_json_may_hold_and_nothing_else() -> None:
    def other(order: Order, kind: Literal["b", "a"] = "b", ctx: Context | None = None, note: str | None = "y") -> None:
        """With a text, in another order, with other defaults."""

    def tree(of: Tree) -> None: ...
    def baum(of: Baum) -> None: ...

    other.__annotations__["ctx"] = Context
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(tree) == fingerprint(baum)
    assert len(fingerprint(one)) == 32

    def plain(of: Customer) -> None: ...
    def prose(of: Any) -> None: ...

    prose.__annotations__["of"] = described()
    assert fingerprint(plain) == fingerprint(prose)


def variants() -> Iterator[Any]:  # noqa: C901  (many small functions, no branches)
    def a(x: int) -> None: ...
    def b(x: str) -> None: ...
    def c(x: int | None) -> None: ...
    def d(x: list[int]) -> None: ...
    def e(x: int = 1) -> None: ...
    def f(y: int) -> None: ...
    def g(x: Literal[1, 2]) -> None: ...
    def h(x: Order) -> None: ...
    def i(x: Customer) -> None: ...
    def j(x: int, y: int) -> None: ...
    def k(x: list[list[int]]) -> None: ...
    def m(x: pydantic.PositiveInt) -> None: ...
    def n() -> None: ...

    return iter((a, b, c, d, e, f, g, h, i, j, k, n))


def test_every_difference_of_form_is_a_difference_of_fingerprints() -> None:
    found = [fingerprint(variant) for variant in variants()]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_a_fingerprint_is_the_same_in_every_process(seed: str) -> None:
    program = "from tests.api import test_upcasting as t; print(t.fingerprint(t.one))"
    ended = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == fingerprint(one)


def test_a_fingerprint_is_this_one_for_ever() -> None:
    def known(a: int, b: str = "x") -> None: ...

    assert fingerprint(known) == KNOWN, "stored data holds it: another canonical form makes every waiting run decode the long way"


KNOWN = "5981407cc3d57297ffa26d9b675460b8"


# -- a deploy while runs wait ------------------------------------------------------------------------------------------


def old_greet(app: App) -> Any:
    def greet(who: str) -> str:
        return f"hi {who}"

    return app.task(name="greet")(greet)


def new_greet(app: App, *, steps: bool = True) -> Any:
    def greet(name: str, greeting: str) -> str:
        return f"{greeting} {name}"

    task = app.task(name="greet", version=3)(greet)
    if steps:
        task.upcast(from_version=1)(lambda payload: {"name": payload["who"]})
        task.upcast(from_version=2)(lambda payload: payload | {"greeting": "hello"})
    return task


@pytest.mark.case("jobs", 13)
def test_a_run_that_waited_through_a_deploy_is_upcast_step_by_step(new_app: NewApp, drain: Drain) -> None:
    before, after = new_app(), new_app()
    run = old_greet(before).enqueue("Ann")
    new_greet(after)
    drain(after)
    assert run.result("5s") == "hello Ann"
    assert after.runs.get(run.id).run.failures == 0
    invariants.check(after.client.database)


def parked_message(app: App, run_id: str) -> str:
    view = app.runs.get(run_id)
    assert (view.run.state, view.run.reason) == (State.NEEDS_ATTENTION, "invalid_payload")
    assert (view.run.failures, view.run.interruptions, view.run.releases) == (0, 0, 0), "nothing is spent"
    invariants.check(app.client.database)
    return str(app.runs.events(run_id)[-1].data["message"])


@pytest.mark.case("jobs", 13)
def test_a_run_whose_steps_are_missing_is_parked_and_the_message_names_the_step(new_app: NewApp, drain: Drain) -> None:
    before, after = new_app(), new_app()
    run = old_greet(before).enqueue("Ann")
    task = new_greet(after, steps=False)
    drain(after)
    assert "no upcaster from version 1" in parked_message(after, run.id)

    task.upcast(from_version=1)(lambda payload: {"name": payload["who"]})
    task.upcast(from_version=2)(lambda payload: payload | {"greeting": "hello"})
    after.runs.resume(run.id, "the step is there now")
    drain(after)
    assert run.result("5s") == "hello Ann"


@pytest.mark.case("jobs", 13)
@pytest.mark.parametrize(
    ("step", "told"),
    [
        (lambda payload: payload["nothing"], "from version 1 raised KeyError"),
        (lambda payload: [payload], "returned a list and not a dict"),
        (lambda payload: {"name": {1, 2}, "greeting": object()}, "no JSON form"),
        (lambda payload: payload, "unknown field `who`"),
    ],
    ids=["raises", "no dict", "no JSON", "still does not fit"],
)
def test_a_step_that_does_not_do_its_work_parks_the_run_and_spends_nothing(
    new_app: NewApp, drain: Drain, step: Any, told: str
) -> None:
    before, after = new_app(), new_app()
    run = old_greet(before).enqueue("Ann")

    def greet(name: str) -> str:
        return name

    after.task(name="greet", version=2)(greet).upcast(from_version=1)(step)
    drain(after)
    assert told in parked_message(after, run.id)


@pytest.mark.case("jobs", 13)
def test_a_schema_that_changed_without_a_version_is_decoded_where_it_fits_and_parked_where_it_does_not(
    new_app: NewApp, drain: Drain
) -> None:
    before, after = new_app(), new_app()

    def grow(size: int) -> int:
        return size

    def shrink(size: int) -> int:
        return size

    fits = before.task(name="grow")(grow).enqueue(3)
    misfits = before.task(name="shrink")(shrink).enqueue(3)

    def grown(size: float, unit: str = "cm") -> str:
        return f"{size:g} {unit}"

    def shrunk(size: str) -> str:
        return size

    after.task(name="grow")(grown)
    after.task(name="shrink")(shrunk)
    drain(after)
    assert after.client.handle(fits.id).result("5s") == "3 cm"
    assert "Expected `str`, got `int` - at `$.size`" in parked_message(after, misfits.id)


@pytest.mark.case("jobs", 14)
def test_a_worker_with_older_code_leaves_runs_of_a_newer_version_to_others(new_app: NewApp, drain: Drain) -> None:
    older, newer = new_app(), new_app()
    old_task = old_greet(older)
    theirs = new_greet(newer).enqueue("Ann", "good day")
    ours = old_task.enqueue("Bob")
    drain(older)
    assert older.runs.get(theirs.id).run.state is State.QUEUED
    assert older.runs.get(theirs.id).run.token == 0, "it was not even claimed"
    assert ours.result("5s") == "hi Bob"
    drain(newer)
    assert theirs.result("5s") == "good day Ann"
    invariants.check(newer.client.database)


@pytest.mark.case("jobs", 13)
def test_a_task_in_a_process_gets_old_payloads_upcast_too(new_app: NewApp, drain: Drain, url: str) -> None:
    before = new_app()
    run = old_greet(before).enqueue("Ann")
    after = new_app("after")
    after.registry._enter(versioned.greet.spec, ())
    drain(after)
    assert run.result("5s") == "hello Ann"


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_worker_does_not_start_while_a_step_in_between_is_missing(idle: App) -> None:
    task = idle.task(name="greet", version=4)(lambda name: name)
    task.upcast(from_version=1)(dict)
    task.upcast(from_version=3)(dict)
    with pytest.raises(InvalidOption, match=r"no upcaster from version 2 \(there are 1, 3\)") as refused:
        idle.worker()
    assert "upcast(from_version=2)" in refused.value.message


@pytest.mark.parametrize("version", [0, -1, 2, 3, True, "1", 1.0])
def test_a_step_from_a_version_that_cannot_be_is_refused(idle: App, version: Any) -> None:
    task = idle.task(name="greet", version=2)(lambda name: name)
    with pytest.raises(InvalidOption, match="from_version"):
        task.upcast(from_version=version)(dict)


def test_two_steps_from_one_version_are_refused(idle: App) -> None:
    task = idle.task(name="greet", version=2)(lambda name: name)
    task.upcast(from_version=1)(dict)
    with pytest.raises(InvalidOption, match="already"):
        task.upcast(from_version=1)(dict)


@pytest.mark.parametrize("version", [0, -1, "2", True, 1.5, None])
def test_a_version_is_a_whole_number_from_one(idle: App, version: Any) -> None:
    with pytest.raises(InvalidOption, match="version must be a whole number from 1"):
        idle.task(name="greet", version=version)(lambda name: name)


def test_a_step_stays_the_function_it_was(idle: App) -> None:
    task = idle.task(name="greet", version=2)(lambda name: name)

    @task.upcast(from_version=1)
    def renamed(payload: dict[str, Any]) -> dict[str, Any]:
        return {"name": payload["who"]}

    assert renamed({"who": "Ann"}) == {"name": "Ann"}
