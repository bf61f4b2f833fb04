"""Several calls as one request: a chain, each behind the one before; a batch, with callbacks for its end. Nothing is sent before
``enqueue``.

Here: what a program writes, and how it becomes requests. Not here: how they are created (``client``), and what waits for whom
(``operations/dependencies``, ``operations/batches``).
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from mainspring.client import BatchHandle, Client, Handle, Request
from mainspring.client.batches import MOST_DEEP, Tree
from mainspring.codec import Reference
from mainspring.core.dependencies import Condition, FiresOn, fires_on
from mainspring.errors import InvalidOption, shown
from mainspring.options import Options
from mainspring.registry import TaskSpec
from mainspring.waiting import in_thread

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Home(Protocol):
    """Where calls go: an app."""

    @property
    def namespace(self) -> str: ...
    @property
    def client(self) -> Client: ...


class Call(Generic[R_co]):
    """An unsent request: a task with its arguments and options, for a batch or a chain.

    Arguments are checked when it is made, unless some are missing, which a chain may bring, or are results to come.
    """

    __slots__ = ("_args", "_kwargs", "_made", "_options", "_spec", "home")

    def __init__(self, home: Home, spec: TaskSpec, options: Options, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.home = home
        self._spec = spec
        self._options = options
        self._args = tuple(args)
        self._kwargs = dict(kwargs)
        self._made: Request | None = None
        if not self._is_partial():
            self._made = self._requested(args, kwargs)

    def __repr__(self) -> str:
        return f"Call({self._spec.name!r})"

    @property
    def request(self) -> Request:
        """What is asked for.

        Raises:
            PayloadInvalid: the arguments do not fit.
        """
        return self._made or self._requested(self._args, self._kwargs)

    def _requested(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Request:
        return self._spec.request(self._spec.about(self.home.namespace, self._options), self._options, args, kwargs)

    @property
    def using(self) -> Any:
        """The caller's connection, if it has one."""
        return self._options.using

    def behind(self, previous: str | None, earlier: Mapping[int, str]) -> Request:
        """What is asked for as a step of a chain, behind the run ``previous``; ``earlier`` has the ids of its calls so far."""
        args = tuple(_resolved(value, earlier) for value in self._args)
        kwargs = {name: _resolved(value, earlier) for name, value in self._kwargs.items()}
        taken = [value.source for value in (*args, *kwargs.values()) if isinstance(value, Reference)]
        if previous is not None and previous not in taken and self._spec.schema.fields:
            args = (Reference(previous), *args)
        request = self._requested(args, kwargs)
        if request.key or request.singleton:
            raise InvalidOption("the calls of a chain take no keys; enqueue keyed runs by themselves, with after=", option="key")
        if previous is None:
            return request
        return request._replace(after=tuple((dict(request.after) | {previous: Condition.SUCCEEDED}).items()))

    def _is_partial(self) -> bool:
        """Whether something is missing that may come yet; anything else that is wrong is told at once."""
        if any(isinstance(value, Reference) for value in (*self._args, *self._kwargs.values())):
            return True
        signature = self._spec.schema.signature
        try:
            signature.bind(*self._args, **self._kwargs)
        except TypeError:
            try:
                signature.bind_partial(*self._args, **self._kwargs)
            except TypeError:
                return False
            return True
        return False


def result_of(run: "Call[R] | Handle[R]") -> R:
    """The result of another run as an argument: of a handle, or of an earlier call in the same chain. The new run begins once that
    one has succeeded; only a whole argument can be a result, not a part of one."""
    return cast("R", Reference(run))


class ChainHandle(Handle[R_co]):
    """The handle of a chain's last run; ``steps`` has those of all, in order."""

    __slots__ = ("steps",)

    def __init__(self, steps: "list[Handle[Any]]", last: Handle[R_co]) -> None:
        super().__init__(last._client, last.id, last.outcome, last._decode)
        self.steps = steps


class Chain(Generic[R_co]):
    """Calls that run one after another."""

    def __init__(self, calls: Sequence[Call[Any]]) -> None:
        if not calls:
            raise InvalidOption("a chain without calls is nothing", option="calls")
        self._calls = [_checked(call, "chain", "calls") for call in calls]

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self._calls))})"

    def enqueue(self) -> ChainHandle[R_co]:
        """Create all its runs, in one transaction. If one ends otherwise than succeeded, those behind it end ``upstream_failed``.

        Raises:
            PayloadInvalid: arguments do not fit; nothing was created. InvalidOption: a call with a key.
        """
        first = self._calls[0]
        return self._handle(first.home.client.submit(self._requests(), using=first.using))

    async def aenqueue(self) -> ChainHandle[R_co]:
        """``enqueue`` for an event loop."""
        first = self._calls[0]
        return self._handle(await first.home.client.asubmit(self._requests(), using=first.using))

    def _requests(self) -> list[Request]:
        new_id = self._calls[0].home.client.system.new_id
        ids: dict[int, str] = {}
        requests: list[Request] = []
        previous: str | None = None
        for call in self._calls:
            run_id = new_id()
            requests.append(call.behind(previous, ids)._replace(run_id=run_id))
            ids[id(call)] = previous = run_id
        return requests

    @staticmethod
    def _handle(steps: list[Handle[Any]]) -> ChainHandle[R_co]:
        return ChainHandle(steps, steps[-1])


@overload
def chain(*calls: *tuple[*tuple[Call[Any], ...], Call[R]]) -> Chain[R]: ...
@overload
def chain(*calls: Call[Any]) -> Chain[Any]: ...
def chain(*calls: Call[Any]) -> Chain[Any]:  # type: ignore[misc]  # the first signature says which of them is the last
    """Calls one after another: each begins when the one before has succeeded, and gets its result as the first argument, unless it
    takes none, or names it itself with ``result_of``."""
    return Chain(calls)


class Batch(Generic[R_co]):
    """Many runs, and those that start when so much of them has ended."""

    def __init__(
        self, members: "Iterable[Call[Any] | Batch[Any]]", callbacks: Mapping[FiresOn, Call[Any]], *, is_open: bool
    ) -> None:
        self._members = members
        self._callbacks = {on: _checked(call, "batch", on) for on, call in callbacks.items()}
        self._is_open = is_open

    def __repr__(self) -> str:
        return f"Batch({', '.join(f'{on}={call!r}' for on, call in self._callbacks.items())})"

    def enqueue(self) -> BatchHandle[R_co]:
        """Create members and callbacks: all or nothing up to 1,000 members, beyond that piece by piece.

        Raises:
            InvalidOption: neither members nor callbacks; what is no call; a call with a key; more than a million members. Of
                batches inside: more than 8 deep, more than 1,000 runs in all, or no callback that can stand for one.
        """
        if isinstance(self._members, Sequence) and any(isinstance(member, Batch) for member in self._members):
            tree = self._tree(1)
            return self._client().batches.create_tree(tree)
        members = map(_single, self._members)
        first = next(members, None)
        some = next(iter(self._callbacks.values()), first)
        if some is None:
            raise InvalidOption("a batch without members and without callbacks is nothing", option="members")
        requests = (call.request for call in itertools.chain([] if first is None else [first], members))
        callbacks = {on: call.request for on, call in self._callbacks.items()}
        return some.home.client.batches.create(requests, callbacks, seal=not self._is_open)

    async def aenqueue(self) -> BatchHandle[R_co]:
        """``enqueue`` for an event loop."""
        return await in_thread(self.enqueue)

    def _tree(self, depth: int) -> Tree:
        """What it asks for, with all that is inside."""
        if depth > MOST_DEEP:
            raise InvalidOption(f"batches inside batches go {MOST_DEEP} deep at most", option="members")
        if not isinstance(self._members, Sequence):
            raise _unlisted()
        members: list[Request | Tree] = []
        for member in self._members:
            if isinstance(member, Batch):
                member._check_standing()
                members.append(member._tree(depth + 1))
            else:
                members.append(_checked(member, "batch", "members").request)
        return Tree(members, {on: call.request for on, call in self._callbacks.items()}, not self._is_open)

    def _check_standing(self) -> None:
        first = next(iter(self._callbacks), None)
        if first is None or first == "any_failed":
            raise InvalidOption(
                'a batch inside a batch needs a callback that stands for it: then= with on="all_succeeded" or "done"', option="then"
            )
        if self._is_open:
            raise InvalidOption("a batch inside a batch cannot be open: its members are those it has", option="open")

    def _client(self) -> Client:
        for each in (*self._callbacks.values(), *self._members):
            return each._client() if isinstance(each, Batch) else each.home.client
        raise InvalidOption("a batch without members and without callbacks is nothing", option="members")


@overload
def batch(
    members: Iterable[Call[Any] | Batch[Any]],
    *,
    then: Call[R],
    on: FiresOn = "done",
    all_succeeded: Call[Any] | None = None,
    any_failed: Call[Any] | None = None,
    done: Call[Any] | None = None,
    open: bool = False,
) -> Batch[R]: ...
@overload
def batch(
    members: Iterable[Call[Any] | Batch[Any]],
    *,
    then: None = None,
    on: FiresOn = "done",
    all_succeeded: Call[Any] | None = None,
    any_failed: Call[Any] | None = None,
    done: Call[Any] | None = None,
    open: bool = False,
) -> Batch[Any]: ...
def batch(
    members: Iterable[Call[Any] | Batch[Any]],
    *,
    then: Call[Any] | None = None,
    on: FiresOn = "done",
    all_succeeded: Call[Any] | None = None,
    any_failed: Call[Any] | None = None,
    done: Call[Any] | None = None,
    open: bool = False,
) -> Batch[Any]:
    """A batch: ``members`` run in any order, up to a million of them; an iterator is read 1,000 at a time.

    ``done`` starts once when the last member has ended, ``all_succeeded`` if all of them succeeded, ``any_failed`` as soon as one
    failed for good. One that can no longer start ends ``upstream_failed``. ``then`` with ``on`` is the short form of one of them.
    With ``open`` more members may join, until somebody seals it: ``handle.add``, ``ctx.batch.add`` in a member. A member may be a
    batch itself, up to 8 deep and with 1,000 runs in all: its first callback (``then``) stands for it.

    Raises:
        InvalidOption: naming what to write.
    """
    if fires_on(on) is None:
        raise InvalidOption(f'on must be "done", "all_succeeded" or "any_failed", not {on!r}', option="on")
    named: dict[FiresOn, Call[Any] | None] = {"all_succeeded": all_succeeded, "any_failed": any_failed, "done": done}
    if then is not None and named[on] is not None:
        raise InvalidOption(f"then= and {on}= are two callbacks for the same; give one", option=on)
    callbacks: dict[FiresOn, Call[Any]] = {} if then is None else {on: then}
    callbacks |= {name: call for name, call in named.items() if call is not None}
    if isinstance(members, Sequence) and not members and not callbacks:
        raise InvalidOption("a batch without members and without then= is nothing", option="members")
    return Batch(members, callbacks, is_open=open)


def _single(member: Any) -> Call[Any]:
    if isinstance(member, Batch):
        raise _unlisted()
    return _checked(member, "batch", "members")


def _unlisted() -> InvalidOption:
    return InvalidOption("with batches among them, the members of a batch are a list, and not an iterator", option="members")


def _checked(call: Any, what: str, option: str) -> Call[Any]:
    if not isinstance(call, Call):
        raise InvalidOption(f"a {what} is made of calls, task.call(...), not {shown(call)}", option=option)
    return call


def _resolved(value: Any, earlier: Mapping[int, str]) -> Any:
    if not isinstance(value, Reference) or not isinstance(value.source, Call):
        return value
    run_id = earlier.get(id(value.source))
    if run_id is None:
        raise InvalidOption(f"result_of({value.source!r}): that call is not an earlier one of this chain", option="result_of")
    return Reference(run_id)
