"""Keys from outside: who holds one, letting go of one, and what differs where a key is refused."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from mainspring import codec
from mainspring.client.handles import Handle
from mainspring.client.writing import write_again
from mainspring.core.names import check_key
from mainspring.errors import KeyConflict, MainspringError
from mainspring.operations import keys

if TYPE_CHECKING:
    from mainspring.client.client import Client

Decode: TypeAlias = Callable[[bytes], Any]


class Keys:
    """Looking at keys, and letting go of them."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def current(self, task: str, key: str, decode: Decode = codec.decode_json) -> Handle[Any] | None:
        """The run that a call with this idempotency key would get now; None: it would create one. Advice: it may change at once."""
        check_key(key, "key")
        found = self._read("keys.current", lambda tx: keys.current(tx, self._client.namespace, task, key))
        return self._handle(found, decode)

    def active(self, task: str, singleton: str, decode: Decode = codec.decode_json) -> Handle[Any] | None:
        """The live run of a singleton, if there is one. Advice, for it may end at once."""
        check_key(singleton, "singleton")
        found = self._read("keys.active", lambda tx: keys.active(tx, self._client.namespace, task, singleton))
        return self._handle(found, decode)

    def reset(self, task: str, key: str, *, reason: str) -> str | None:
        """Free the idempotency key of a run that has ended; the run's id, or None if nobody has the key. Nothing is run by it, and
        the audit log tells of it.

        Raises:
            KeyActive: its owner has not ended.
        """
        return write_again(
            self._client.database,
            "keys.reset",
            lambda tx: keys.reset(tx, self._client.namespace, task, key, actor=self._client.actor, reason=reason),
        )

    def _handle(self, found: keys.Found | None, decode: Decode) -> Handle[Any] | None:
        if found is None:
            return None
        return Handle(self._client, found.run_id, "existing", decode, final_state=found.final_state, ended_at=found.ended_at)

    def _read(self, name: str, fn: Callable[..., Any]) -> Any:
        return self._client.database.read(name, fn)


def with_fields(refused: KeyConflict, keeping: codec.Keeping) -> KeyConflict:
    """A refusal that names the fields in which the two payloads differ, where both can still be read. May block."""
    owners, callers = refused.details.pop("stored", (None, None))
    fields = _differing(_opened(owners, refused, keeping), _opened(callers, refused, keeping))
    told = f"{refused.message}; they differ in {', '.join(fields)}" if fields else refused.message
    return KeyConflict(told, **refused.details, fields=fields)


def _opened(stored: bytes | None, refused: KeyConflict, keeping: codec.Keeping) -> Any:
    if stored is None:
        return None
    try:
        return codec.decode_json(keeping.read_payload(stored, task=refused.details["task"]))
    except (MainspringError, ValueError):  # sealed with a key that is not listed, a blob that is gone: the refusal stands without
        return None


def _differing(one: Any, other: Any) -> list[str]:
    if isinstance(one, list) and isinstance(other, list):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if not isinstance(one, dict) or not isinstance(other, dict):
        return []
    absent = object()
    return sorted(str(name) for name in {*one, *other} if one.get(name, absent) != other.get(name, absent))
