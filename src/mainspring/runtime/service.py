"""A service: something with a name that is stepped again and again. The one loop that steps it is the driver's."""

from typing import NamedTuple, Protocol


class Wake(NamedTuple):
    """When a service wants its next step: after so many seconds, or sooner if somebody rings."""

    after_seconds: float


class Service(Protocol):
    """One part of a running process. ``step`` is synchronous, short, and may be called from any one thread at a time."""

    name: str

    def step(self) -> Wake:
        """Do what is to be done now."""
