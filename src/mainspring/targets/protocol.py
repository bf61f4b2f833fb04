"""What a target is to whoever stores and runs it, and finding the one that a run names.

Here: the protocol, and ``Targets``, which reads the payload of such a run. A run of a target has its kind as the task of its lane,
and as payload the target as it was written, what the target is given, and the occurrence it is for. Not here: any kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from mainspring.core.attempts import Unworkable
from mainspring.core.launch import Launch, Occurrence
from mainspring.errors import TargetInvalid
from mainspring.targets.receipts import Ran

Spec = TypeVar("Spec")


class Target(Protocol[Spec]):
    """A kind of work that needs no user code."""

    @property
    def kind(self) -> str:
        """Its name: the task of the lanes that it serves, and the scope that its author needs."""

    def read(self, written: object) -> Spec:
        """What was written, checked.

        Raises:
            TargetInvalid: with every mistake at once.
        """

    async def review(self, spec: Spec) -> None:
        """See that it is allowed, as far as can be said when it is written down.

        Raises:
            TargetRefused: naming the rule.
        """

    async def run(self, spec: Spec, launch: Launch) -> Ran:
        """Run it once. Whether it is allowed is asked again.

        Cancelling asks it to stop: it ends what it began and still returns what it left, as ``Stopped``. A second time, it hurries.
        """


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload of a run of a target."""

    target: dict[str, Any]
    payload: Any = None
    occurrence: Occurrence | None = None
    is_repeat: bool = False


class Targets:
    """The kinds that a worker offers."""

    def __init__(self, targets: Iterable[Target[Any]]) -> None:
        self._targets: Mapping[str, Target[Any]] = {target.kind: target for target in targets}

    def kinds(self) -> list[str]:
        """Their names."""
        return sorted(self._targets)

    async def review(self, kind: str, written: object) -> Any:
        """See that a target may be written down; it as it was read.

        Raises:
            TargetInvalid: with every mistake at once. TargetRefused: naming the rule.
        """
        target = self._targets[kind]
        spec = target.read(written)
        await target.review(spec)
        return spec

    async def run(
        self,
        kind: str,
        body: bytes,
        *,
        run_id: str,
        attempt: int,
        occurrence: Occurrence | None = None,
        is_repeat: bool = False,
        trace: str | None = None,
    ) -> Ran:
        """Run the target in the payload of a run of the lane ``kind``, for ``occurrence`` unless the payload names another."""
        try:
            order = msgspec.json.decode(body, type=Order)
            spec = self._targets[kind].read(order.target)
        except KeyError:
            return Ran(Unworkable("unknown_task", f"this worker offers no target {kind}"))
        except (msgspec.MsgspecError, RecursionError):
            return Ran(Unworkable("invalid_payload", f"the payload is not that of a run of {kind}"))
        except TargetInvalid as invalid:
            return Ran(Unworkable("invalid_payload", invalid.message))
        launch = Launch(
            run_id=run_id,
            attempt=attempt,
            payload=order.payload,
            occurrence=order.occurrence or occurrence,
            is_repeat=order.is_repeat or is_repeat,
            trace=trace,
        )
        return await self._targets[kind].run(spec, launch)
