"""Payloads: what a task may take, and what is refused before anything is created, naming every field that does not fit."""

from __future__ import annotations

import dataclasses
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest

from mainspring import App, Context, PayloadInvalid, State
from mainspring.codec import encode_json, encode_result
from mainspring.errors import PayloadTooLarge, ResultInvalid, ResultTooLarge
from mainspring.testing import invariants
from tests.api.conftest import Drain


class Order(msgspec.Struct):
    id: int
    lines: list[str] = msgspec.field(default_factory=list)


@dataclasses.dataclass
class Address:
    street: str
    number: int = 1


class Options(TypedDict, total=False):
    colour: str
    size: int


class Customer(pydantic.BaseModel):
    name: str
    age: pydantic.PositiveInt = 18


def body(app: App, function: Any, *args: Any, **kwargs: Any) -> bytes:
    """The payload of a call, as it is stored."""
    return app.task(function).call(*args, **kwargs).request.body


def test_every_kind_of_model_is_stored_as_json_with_its_defaults_filled_in(idle: App) -> None:
    def task(order: Order, address: Address, options: Options, customer: Customer, *rest: int) -> None: ...

    def fitting(order: Order, address: Address, options: Options, customer: Customer, n: int | None = None) -> None: ...

    with pytest.raises(Exception, match="rest"):
        idle.task(task)
    assert body(idle, fitting, Order(id=1), Address("High Street"), {"size": 3}, Customer(name="Ann")) == (
        b'{"order":{"id":1,"lines":[]},"address":{"street":"High Street","number":1},"options":{"size":3},'
        b'"customer":{"name":"Ann","age":18},"n":null}'
    )


def test_what_is_stored_is_what_the_function_is_given(idle: App) -> None:
    def task(order: Order, address: Address, customer: Customer, tags: set[str], pair: tuple[int, str]) -> None: ...

    made = idle.task(task)
    stored = made.call(Order(id=1), Address("x"), Customer(name="Ann"), {"a"}, (1, "b")).request.body
    given = made.spec.schema.decode(stored)
    assert given == (Order(id=1), Address("x"), Customer(name="Ann"), {"a"}, (1, "b"))


def test_two_calls_that_mean_the_same_are_stored_alike(idle: App) -> None:
    def task(to: str, subject: str = "hi") -> None: ...

    made = idle.task(task)
    spellings = [made.call("x"), made.call(to="x"), made.call("x", "hi"), made.call(subject="hi", to="x")]
    assert {call.request.body for call in spellings} == {b'{"to":"x","subject":"hi"}'}


@pytest.mark.parametrize("place", ["first", "last", "between", "none"])
def test_the_context_is_no_part_of_the_payload_wherever_it_stands(idle: App, place: str) -> None:
    def first(ctx: Context, a: int, b: int) -> None: ...
    def last(a: int, b: int, ctx: Context) -> None: ...
    def between(a: int, ctx: Context, b: int) -> None: ...
    def none(a: int, b: int) -> None: ...

    function: Any = {"first": first, "last": last, "between": between, "none": none}[place]
    task = idle.task(function)
    assert task.call(1, 2).request.body == b'{"a":1,"b":2}'


def task(to: str, count: int = 1, order: Order | None = None) -> None: ...


@pytest.mark.parametrize(
    ("args", "kwargs", "fields"),
    [
        ((1,), {}, ["to"]),
        (("x", "y"), {}, ["count"]),
        ((1, "y"), {}, ["to", "count"]),
        (("x",), {"order": {"id": "z"}}, ["order"]),
        ((None,), {}, ["to"]),
        (("x", 1.5), {}, ["count"]),
        (("x", float("nan")), {}, ["count"]),
        ((object(),), {}, ["to"]),
        (("\ud800",), {}, ["to"]),
    ],
)
def test_a_payload_that_does_not_fit_is_refused_naming_every_field(
    idle: App, args: tuple[Any, ...], kwargs: dict[str, Any], fields: list[str]
) -> None:
    with pytest.raises(PayloadInvalid) as refused:
        body(idle, task, *args, **kwargs)
    assert [error["field"] for error in refused.value.errors] == fields
    for field in fields:
        assert field in refused.value.message


@pytest.mark.parametrize(
    ("args", "kwargs", "hint"),
    [
        ((), {}, "to"),
        (("x", 1, None, 4), {}, "too many"),
        (("x",), {"colour": "red"}, "colour"),
        (("x",), {"to": "y"}, "to"),
    ],
    ids=["missing", "too many", "unknown", "twice"],
)
def test_arguments_that_do_not_bind_are_refused_saying_what_the_task_takes(
    idle: App, args: tuple[Any, ...], kwargs: dict[str, Any], hint: str
) -> None:
    with pytest.raises(PayloadInvalid, match=r"task takes \(to, count, order\)") as refused:
        body(idle, task, *args, **kwargs)
    assert hint in refused.value.message


@pytest.mark.parametrize(
    ("value", "path"), [([1.0, float("nan")], r"data\[1\]"), ({"a": {"b": float("inf")}}, r"data\.a\.b")], ids=["list", "dict"]
)
def test_a_number_that_json_has_not_is_refused_with_its_path(idle: App, value: Any, path: str) -> None:
    def anything(data: Any) -> None: ...

    with pytest.raises(PayloadInvalid, match=path):
        body(idle, anything, value)


def test_a_float_that_is_not_finite_inside_a_model_is_refused_too(idle: App) -> None:
    @dataclasses.dataclass
    class Point:
        x: float | None

    def plot(points: list[Point]) -> None: ...

    globals()["Point"] = Point
    plot.__annotations__["points"] = list[Point]
    with pytest.raises(PayloadInvalid):
        body(idle, plot, [Point(float("nan"))])


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_nesting_is_bounded(idle: App) -> None:
    def anything(data: Any) -> None: ...

    made = idle.task(anything)
    made.call(nested(63))
    for levels in (64, 500, 5_000):
        with pytest.raises(PayloadInvalid, match=r"deep|nested|recursion"):
            made.call(nested(levels))


def test_brackets_inside_text_are_no_nesting(idle: App) -> None:
    def anything(data: str) -> None: ...

    body(idle, anything, '[{\\"' * 200)


def test_size_is_bounded_to_the_byte(idle: App) -> None:
    def anything(data: str) -> None: ...

    made = idle.task(anything)
    room = 256 * 1024 - len('{"data":""}')
    assert len(made.call("x" * room).request.body) == 256 * 1024
    with pytest.raises(PayloadTooLarge, match="262,144"):
        made.call("x" * (room + 1))
    with pytest.raises(PayloadTooLarge):
        made.call("é" * room)


def test_a_coroutine_is_no_payload(idle: App) -> None:
    async def later() -> int:
        return 1

    def anything(data: Any) -> None: ...

    coroutine = later()
    with pytest.raises(PayloadInvalid, match="data"):
        body(idle, anything, coroutine)
    coroutine.close()


@dataclasses.dataclass
class Parcel:
    order: Order
    extra: dict[str, Any]


def test_the_path_of_a_part_without_a_json_form_is_told_however_deep_it_is(idle: App) -> None:
    def send(parcels: list[Parcel], note: Any = None) -> None: ...

    with pytest.raises(PayloadInvalid) as refused:
        body(idle, send, [Parcel(Order(1), {}), Parcel(Order(2), {"weights": [1, {"kg": object()}]})])
    assert refused.value.errors[0]["field"] == "parcels"
    assert "[1].extra.weights[1].kg" in refused.value.message


def test_a_value_that_holds_itself_is_refused(idle: App) -> None:
    def anything(data: Any) -> None: ...

    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(PayloadInvalid, match="data"):
        body(idle, anything, endless)


def test_a_payload_that_is_too_large_is_refused_naming_its_largest_part(idle: App) -> None:
    def send(order: Order, note: str = "") -> None: ...
    def again(order: Order) -> None: ...

    with pytest.raises(PayloadTooLarge, match=r"order.lines\[1\] alone is 300,002"):
        body(idle, send, Order(1, ["x", "y" * 300_000, "z"]))
    with pytest.raises(PayloadTooLarge) as refused:
        body(idle, again, Order(1, ["x" * 10] * 30_000))
    assert "(order.lines alone is" in refused.value.message


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, {"b": float("nan")}]}, "result.a[1].b is not a number"),
        ({"a": [1, {"b": object()}]}, "result.a[1].b: object has no JSON form"),
        (nested(65), "result is nested deeper than 64"),
        ({"a": ["x" * 300_000]}, "result.a[0] alone is 300,002"),
    ],
    ids=["NaN", "no form", "deep", "large"],
)
def test_a_result_that_cannot_be_stored_is_told_with_its_path(value: Any, path: str) -> None:
    with pytest.raises((ResultInvalid, ResultTooLarge)) as refused:
        encode_result(value)
    assert path in refused.value.message


def test_a_checkpoint_or_a_payload_by_name_takes_no_number_that_json_has_not() -> None:
    with pytest.raises(PayloadInvalid, match=r"checkpoint.at is not a number"):
        encode_json({"at": float("inf")}, what="checkpoint", largest=100)
    with pytest.raises(PayloadTooLarge, match=r"checkpoint.rows\[0\] alone is"):
        encode_json({"at": 1, "rows": ["x" * 100]}, what="checkpoint", largest=100)


@pytest.mark.case("jobs", 55)
def test_one_undecodable_outcome_among_a_hundred_loses_none_of_the_others(app: App, drain: Drain) -> None:
    odd: list[Any] = [object(), float("nan"), nested(5_000), "\ud800", "\x00", {1: {2, 3}}, "x" * 300_000]

    @app.task(max_attempts=2)
    def work(n: int) -> Any:
        return odd[n] if n < len(odd) else n

    runs = work.enqueue_many([(n,) for n in range(100)])
    drain(app)
    states = [app.runs.get(run.id).run.state for run in runs]
    assert [run.result("5s") for run in runs[len(odd) :]] == list(range(len(odd), 100))
    assert [state is State.SUCCEEDED for state in states[: len(odd)]] == [False, False, False, False, True, True, False]
    invariants.check(app.client.database)


def test_a_default_that_can_change_is_not_shared_between_runs(idle: App) -> None:
    def collect(into: list[int] = []) -> None: ...  # noqa: B006

    made = idle.task(collect)
    first, second = (made.spec.schema.decode(made.call().request.body)[0] for _ in range(2))
    first.append(1)
    assert second == []
