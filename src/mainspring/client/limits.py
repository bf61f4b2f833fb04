"""Looking at limits, and changing them while everything runs."""

from typing import TYPE_CHECKING, Any

from mainspring.client.writing import write_again
from mainspring.core.limits import Limit, Measure, Rate, Scope
from mainspring.core.names import check_key, check_name
from mainspring.errors import InvalidOption
from mainspring.operations import limits
from mainspring.store.database import Transaction

if TYPE_CHECKING:
    from mainspring.client.client import Client


class LimitsAtWork:
    """Looking at limits, and changing them while everything runs. A limit is over ``total``, the ``namespace``, a ``queue``,
    ``each_key`` of a queue, one ``key`` of a queue, a ``task`` or a ``pool`` (a named one)."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def declare(self, scope: Scope, name: str, limit: Limit | Rate) -> None:
        """What code says of a limit; an operator's change stays."""
        namespace = self._client.namespace
        write_again(self._client.database, "limits.declare", lambda tx: limits.declare(tx, namespace, scope, name, limit))

    def list(self) -> list[limits.LimitView]:
        """Every limit that binds runs of this namespace, with what is held of it."""
        found: list[limits.LimitView] = self._client.database.read(
            "limits.all", lambda tx: limits.listing(tx, self._client.namespace)
        )
        return found

    def set(self, scope: str, name: str = "", limit: Limit | Rate | None = None, *, key: str = "", rate: bool = False) -> None:
        """Set a limit, or lift it (None; with ``rate`` the rate). It holds until ``reset``, whatever a deploy says.

        Raises:
            InvalidOption: naming what cannot be.
        """
        over, measure = _scope(scope, name, key), Measure.RATE if rate else Measure.AT_ONCE
        measure = measure if limit is None else limit.measure
        namespace, actor = self._client.namespace, self._client.actor
        write_again(
            self._client.database,
            "limits.set",
            lambda tx: limits.put(tx, namespace, over, name, limit, key=key, measure=measure, actor=actor),
        )
        self._client.tell_work([queue.name for queue in self._client.queues.list()])

    def get(self, scope: str, name: str = "", *, key: str = "", rate: bool = False) -> limits.LimitView:
        """One limit.

        Raises:
            UnknownLimit: nobody ever said how much. InvalidOption: naming what cannot be.
        """
        over, measure, namespace = _scope(scope, name, key), Measure.RATE if rate else Measure.AT_ONCE, self._client.namespace
        found: limits.LimitView = self._client.database.read(
            "limits.get", lambda tx: limits.get(tx, namespace, over, name, key=key, measure=measure)
        )
        return found

    def edit(
        self,
        scope: str,
        name: str = "",
        limit: Limit | Rate | None = None,
        *,
        key: str = "",
        rate: bool = False,
        version: str | None = None,
    ) -> limits.LimitView:
        """``set``, and the limit as it is then. ``version`` is that of the limit as the caller saw it.

        Raises:
            InvalidOption: naming what cannot be. ChangedMeanwhile: it has another version by now, or is gone.
        """
        over, measure = _scope(scope, name, key), Measure.RATE if rate else Measure.AT_ONCE
        measure = measure if limit is None else limit.measure
        which: dict[str, Any] = {"scope": over, "name": name, "key": key, "measure": measure}
        namespace = self._client.namespace

        def fn(tx: Transaction) -> limits.LimitView:
            limits.require_version(tx, namespace, version=version, **which)
            limits.put(tx, namespace, limit=limit, actor=self._client.actor, **which)
            return limits.get(tx, namespace, **which)

        edited = write_again(self._client.database, "limits.set", fn)
        self._client.tell_work([queue.name for queue in self._client.queues.list()])
        return edited

    def reset(self, scope: str, name: str = "", *, key: str = "", rate: bool = False) -> bool:
        """Let code say again what a limit is, from its next start on. False: no operator had changed it."""
        over, measure = _scope(scope, name, key), Measure.RATE if rate else Measure.AT_ONCE
        namespace, actor = self._client.namespace, self._client.actor
        return write_again(
            self._client.database,
            "limits.reset",
            lambda tx: limits.reset(tx, namespace, over, name, key=key, measure=measure, actor=actor),
        )


def _scope(scope: str, name: str, key: str) -> Scope:
    try:
        over = Scope(scope)
    except ValueError:
        raise InvalidOption(f"{scope!r} is nothing a limit is over; there are {', '.join(Scope)}", option="scope") from None
    if (over in {Scope.TOTAL, Scope.NAMESPACE}) != (not name):
        raise InvalidOption(f"a limit over {over} {'has no name' if name else 'needs the name of it'}", option="name")
    if name:
        check_name(name, "name")
    if (over is Scope.KEY) != bool(key):
        raise InvalidOption("key= belongs to a limit over one key of a queue, and only there", option="key")
    if key:
        check_key(key, "key")
    return over
