"""Backfills: ``schedules.backfill(...)`` says which past instants of a schedule would be run again and why the others not,
``.apply()`` has them run, ``schedules.backfills`` looks at one and cancels it. Not here: the judgement (``core/backfill.py``)."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from mainspring import codec
from mainspring.client.writing import write_again
from mainspring.core.backfill import Only
from mainspring.core.durations import Duration, parse_duration, parse_instant
from mainspring.core.ids import parse_run_id
from mainspring.core.settling import Order
from mainspring.errors import InvalidOption, shown
from mainspring.operations import backfills
from mainspring.operations.backfills import BackfillItem, BackfillView, Options
from mainspring.operations.views import bound_page
from mainspring.store.database import Transaction

if TYPE_CHECKING:
    from mainspring.client.client import Client

T = TypeVar("T")
ItemList: TypeAlias = list[BackfillItem]
_MOST_SLOTS = 10_000


class Backfill:
    """Past instants of a schedule that are to be run again. ``preview()`` says what would become of each; ``apply()`` does it."""

    def __init__(self, client: "Client", name: str, first: int, last: int, options: Options, body: bytes | None) -> None:
        self._client = client
        self._name = name
        self._first, self._last = first, last
        self._options = options
        self._body = body
        self.id = client.system.new_id()

    def preview(self) -> ItemList:
        """Every instant in the order in which they would run; those that would not are ``left_out``, with why.

        Raises:
            UnknownSchedule: there is none of that name. InvalidOption: more than 10,000 instants, or some that are not past.
        """
        found: ItemList = self._client.database.read(
            "backfills.look",
            lambda tx: backfills.look(tx, self._name, self._first, self._last, self._options, namespace=self._client.namespace),
        )
        return found

    def apply(self) -> BackfillView:
        """Write it down and start the first ones; upkeep goes on from there, as slots are free. A second call changes nothing.

        Raises:
            UnknownSchedule: there is none of that name. InvalidOption: more than 10,000 instants, or some that are not past.
        """
        client = self._client
        write_again(
            client.database,
            "backfills.begin",
            lambda tx: backfills.begin(
                tx, self.id, self._name, self._first, self._last, self._options, body=self._body, namespace=client.namespace,
                actor=client.actor,
            ),
        )  # fmt: skip
        made: BackfillView = write_again(
            client.database, "backfills.step", lambda tx: backfills.step(tx, self.id, namespace=client.namespace)
        )
        client.tell_work([])
        return made


class Backfills:
    """Backfills that were begun: how far each is, and cancelling one."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def get(self, backfill_id: str) -> BackfillView:
        """One backfill: ``done`` of ``total`` instants have their outcome.

        Raises:
            UnknownRun: there is none.
        """
        named = parse_run_id(backfill_id)
        return self._read("backfills.get", lambda tx: backfills.get(tx, named, namespace=self._client.namespace))

    def items(self, backfill_id: str, *, after: int = -1, limit: int = 50) -> ItemList:
        """What became of its instants: a page, in order; ``after`` is the ``place`` of the last one of the page before.

        Raises:
            UnknownRun: there is no such backfill.
        """
        named, most = parse_run_id(backfill_id), bound_page(limit)
        return self._read(
            "backfills.items",
            lambda tx: backfills.items(tx, named, namespace=self._client.namespace, after=after, most=most),
        )

    def summary(self, backfill_id: str) -> Mapping[str, int]:
        """Its instants counted: ``started``, ``open``, and for those left out why.

        Raises:
            UnknownRun: there is no such backfill.
        """
        counted: Counter[str] = Counter()
        after = -1
        while page := self.items(backfill_id, after=after, limit=500):
            counted.update(each.code or each.outcome or "open" for each in page)
            after = page[-1].place
        return counted

    def cancel(self, backfill_id: str) -> BackfillView:
        """Start nothing more of it; what was started goes on. One that is over stays as it is.

        Raises:
            UnknownRun: there is none.
        """
        named, client = parse_run_id(backfill_id), self._client
        made: BackfillView = write_again(
            client.database,
            "backfills.cancel",
            lambda tx: backfills.cancel(tx, named, namespace=client.namespace, actor=client.actor),
        )
        return made

    def _read(self, name: str, look: Callable[[Transaction], T]) -> T:
        found: T = self._client.database.read(name, look)
        return found


def backfill_of(
    client: "Client",
    name: str,
    first: datetime | str,
    last: datetime | str,
    *,
    only: str,
    order: str,
    spacing: Duration | None,
    max_concurrency: int | None,
    payload: Mapping[str, Any] | None,
    own_slots: bool,
    include_forgotten: bool,
) -> Backfill:
    """A backfill from what a person writes; nothing is read or written yet.

    Raises:
        InvalidOption: naming the option and what to write.
    """
    if only not in set(Only):
        raise InvalidOption(f"only must be one of {', '.join(Only)}, not {shown(only)}", option="only")
    if order not in set(Order):
        raise InvalidOption(f"order must be one of {', '.join(Order)}, not {shown(order)}", option="order")
    is_whole = isinstance(max_concurrency, int) and not isinstance(max_concurrency, bool)
    if max_concurrency is not None and not (is_whole and 1 <= max_concurrency <= _MOST_SLOTS):
        raise InvalidOption(
            f"max_concurrency must be a whole number from 1 to {_MOST_SLOTS:,}, not {shown(max_concurrency)}",
            option="max_concurrency",
        )
    options = Options(
        only=Only(only),
        newest_first=Order(order) is Order.NEWEST_FIRST,
        spacing_us=0 if spacing is None else parse_duration(spacing, option="spacing"),
        max_concurrency=max_concurrency,
        own_slots=own_slots,
        include_forgotten=include_forgotten,
    )
    body = None if payload is None else codec.encode_json(payload, what="payload", largest=codec.LARGEST)
    begins, ends = parse_instant(first, option="first"), parse_instant(last, option="last")
    return Backfill(client, name, begins, ends, options, body)
