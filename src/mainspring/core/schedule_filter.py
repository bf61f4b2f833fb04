"""Which schedules somebody asks for. Not here: reading them."""

from __future__ import annotations

from dataclasses import dataclass

from mainspring.core.schedule import ScheduleState, Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFilter:
    """What is not named is not asked. ``target``: the name of a task, ``http`` or ``shell``. ``next_before``: due before that
    instant (µs)."""

    states: frozenset[ScheduleState] = frozenset()
    kind: str | None = None
    target: str | None = None
    prefix: str = ""
    next_before: int | None = None
    attributes: tuple[tuple[str, str], ...] = ()

    def admits(self, *, name: str, kind: str, state: ScheduleState, spec: Spec | None, next_nominal_at: int | None) -> bool:
        """Whether a schedule is one of those. What one says that can no longer be read is unknown, and matches nothing."""
        return (
            name.startswith(self.prefix)
            and (not self.states or state in self.states)
            and self.kind in {None, kind}
            and (self.next_before is None or (next_nominal_at is not None and next_nominal_at < self.next_before))
            and (self.target is None or (spec is not None and spec.target == self.target))
            and (not self.attributes or (spec is not None and set(self.attributes) <= set(spec.attributes)))
        )
