"""What a shape of work brings to the simulator: its kinds of steps. Jobs are one shape; others plug in beside them.

Here: the protocol. Not here: any one shape (``jobs``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import ClassVar, Protocol

from mainspring.core.events import Event
from mainspring.testing.invariants import Violation
from mainspring.testing.simulator.nodes import ClientNode
from mainspring.testing.simulator.scenario import Kind
from mainspring.testing.simulator.witness import Witness
from mainspring.testing.simulator.world import World

#: One call that a user makes; the dice decide what with. Errors that a caller can meet are the shape's to catch.
Call = Callable[[ClientNode, Random], None]


class Shape(Protocol):
    """One shape of work."""

    kinds: ClassVar[Mapping[str, Kind]]

    def __init__(self, world: World, witness: Witness) -> None: ...

    def calls(self) -> Mapping[str, Call]:
        """What each kind of step does."""

    def begin(self, client: ClientNode) -> None:
        """Set up what the story needs, before anything goes wrong."""

    def heal(self, client: ClientNode) -> None:
        """Take back whatever would keep work from ending: pauses, limits of nothing."""

    def verify(self, ledgers: Mapping[str, Sequence[Event]]) -> Iterable[Violation]:
        """Promises of this shape alone, when the story is over."""

    def excuses(self, violation: Violation) -> bool:
        """Whether what the rows say against a promise is right all the same, for a reason that the rows do not know."""


#: Makes a shape for one simulation, and says beforehand which kinds of steps it will have.
ShapeMaker = type[Shape]
